%% @private `crema consume': a topic's messages on standard output, without a group.
-module(crema_cli_consume).

-export([run/1]).

-spec run(crema_cli_arguments:given()) -> crema_cli:ended().
run(#{to := _, until_end := true}) ->
    throw({usage, "--to and --until-end exclude each other"});
run(#{json := true} = Given) when
    is_map_key(separator, Given); is_map_key(headers, Given); is_map_key(places, Given)
->
    throw({usage, "--json prints keys, headers and places already"});
run(#{topic := Topic} = Given) ->
    ok = crema_cli_trouble:tell(),
    Own = maps:from_list([{partitions, P} || {ok, P} <- [maps:find(partitions, Given)]]),
    Options = maps:merge(crema_cli_given:client(Given), Own#{
        topic => Topic,
        from => maps:get(from, Given, earliest),
        to => to(Given),
        timeout => crema_cli_given:milliseconds(timeout, Given, 30)
    }),
    Output = crema_cli_output:open(),
    Self = self(),
    Reader = spawn_link(fun() -> read(Self, Options) end),
    ok = print(Reader, maps:get(count, Given, infinity), format(Given), Output),
    crema_cli_output:close(Output).

-spec to(crema_cli_arguments:given()) -> term().
to(#{until_end := true}) -> 'end';
to(#{to := To}) -> To;
to(_) -> infinity.

-spec format(crema_cli_arguments:given()) -> fun((crema_reader:message()) -> iodata()).
format(#{json := true}) ->
    fun crema_cli_message:as_json/1;
format(Given) ->
    Options = maps:merge(#{delimiter => <<"\n">>, null => <<>>}, Given),
    fun(Message) -> crema_cli_message:as_text(Message, Options) end.

%% A process of its own, for whoever prints hears also that nobody reads that. It is one
%% batch ahead.
-spec read(pid(), map()) -> ok.
read(Printer, Options) ->
    case crema_reader:open(Options) of
        {ok, Reader} -> read_on(Printer, Reader);
        {error, Reason} -> send(Printer, {error, Reason})
    end.

-spec read_on(pid(), crema_reader:reader()) -> ok.
read_on(Printer, Reader) ->
    case crema_reader:next(Reader) of
        {ok, Messages, Next} ->
            ok = send(Printer, {ok, Messages}),
            receive
                {more, Printer} -> read_on(Printer, Next)
            end;
        {done, _} ->
            send(Printer, done);
        {error, Reason} ->
            send(Printer, {error, Reason})
    end.

-spec send(pid(), term()) -> ok.
send(Printer, What) ->
    Printer ! {self(), What},
    ok.

-spec print(
    pid(), pos_integer() | infinity, fun((crema_reader:message()) -> iodata()),
    crema_stdio:output()
) -> ok.
print(Reader, Wanted, Format, Output) ->
    receive
        {Reader, {ok, Messages}} when Wanted =:= infinity; length(Messages) < Wanted ->
            Reader ! {more, self()},
            ok = crema_cli_output:write(Output, [Format(Message) || Message <- Messages]),
            print(Reader, less(Wanted, length(Messages)), Format, Output);
        {Reader, {ok, Messages}} ->
            Taken = lists:sublist(Messages, Wanted),
            crema_cli_output:write(Output, [Format(Message) || Message <- Taken]);
        {Reader, done} ->
            ok;
        {Reader, {error, Reason}} ->
            crema_cli:fail(Reason);
        {'EXIT', Reader, Reason} when Reason =/= normal ->
            exit(Reason);
        {'EXIT', Output, _} = Ended ->
            self() ! Ended,
            crema_cli_output:close(Output)
    end.

-spec less(pos_integer() | infinity, non_neg_integer()) -> pos_integer() | infinity.
less(infinity, _) -> infinity;
less(Wanted, Count) -> Wanted - Count.
