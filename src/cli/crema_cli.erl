%% @private The command line: `crema COMMAND ...'. Each command is a module of its own,
%% named crema_cli_COMMAND, which returns or throws how it ended.
-module(crema_cli).

-export([main/1, tell/1, fail/1, must/1, each/3, list_or_describe/4, without_advice/2]).

-export_type([ended/0]).

%% `failed': something was not done, and has been told of.
-type ended() :: ok | failed.

%% @doc What an escript calls. Ends the system.
-spec main([string()]) -> no_return().
main(Arguments) ->
    ok = io:setopts(standard_error, [{encoding, unicode}]),
    ok = os:set_signal(sigterm, default),
    halt(status(fun() -> run(Arguments) end)).

-spec status(fun(() -> ended())) -> 0..2.
status(Run) ->
    try Run() of
        ok -> 0;
        failed -> 1
    catch
        throw:{usage, Text} ->
            tell([Text, ". `crema help` tells what there is."]),
            2;
        throw:{failed, Text} ->
            tell(Text),
            1;
        throw:closed ->
            0;
        Class:Reason:Stack ->
            tell(io_lib:format("this is a fault of crema's own: ~0tp", [
                {Class, shape(Reason), [{M, F, where(A, L)} || {M, F, A, L} <- Stack]}
            ])),
            1
    end.

%% Terms and arguments may hold secrets.
-spec shape(term()) -> atom().
shape(Reason) when is_atom(Reason) -> Reason;
shape(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> element(1, Reason);
shape(_) -> '_'.

-spec where(term(), list()) -> {non_neg_integer(), term()}.
where(Arity, Location) when is_integer(Arity) -> {Arity, proplists:get_value(line, Location)};
where(Arguments, Location) -> where(length(Arguments), Location).

-spec run([string()]) -> ended().
run([]) ->
    print(crema_cli_table:help()),
    throw({usage, "a command is wanted"});
run([Help]) when Help =:= "help"; Help =:= "--help"; Help =:= "-h" ->
    print(crema_cli_table:help());
run([Help, Name | _]) when Help =:= "help"; Help =:= "--help"; Help =:= "-h" ->
    print(crema_cli_table:help(command(Name)));
run(["--version" | _]) ->
    version();
run([Name | Arguments]) ->
    Command = command(Name),
    case crema_cli_arguments:parse(Command, Arguments) of
        #{help := true} -> print(crema_cli_table:help(Command));
        Given -> carry_out(Command, Given)
    end.

-spec command(string()) -> crema_cli_table:command().
command(Name) ->
    case crema_cli_table:command(Name) of
        {ok, Command} -> Command;
        error -> throw({usage, ["there is no command ", Name]})
    end.

-spec carry_out(crema_cli_table:command(), crema_cli_arguments:given()) -> ended().
carry_out(#{name := Name}, Given) ->
    start(),
    _ = process_flag(trap_exit, true),
    case Name of
        produce -> crema_cli_produce:run(Given);
        consume -> crema_cli_consume:run(Given);
        topics -> crema_cli_topics:run(Given);
        groups -> crema_cli_groups:run(Given);
        lag -> crema_cli_lag:run(Given);
        check -> crema_cli_check:run(Given);
        bench -> crema_cli_bench:run(Given)
    end.

-spec start() -> ok.
start() ->
    ok = crema_cli_driver:prepare(),
    case application:ensure_all_started(crema) of
        {ok, _} ->
            ok;
        {error, {crema, {{shutdown, {failed_to_start_child, _, {_, #{message := Text}}}}, _}}} ->
            Place = application:get_env(crema, driver_directory, "its own folder"),
            throw({failed, [Text, " It was loaded from ", Place, "."]});
        {error, Reason} ->
            fail(Reason)
    end.

-spec version() -> ended().
version() ->
    start(),
    {ok, Version} = application:get_key(crema, vsn),
    #{librdkafka := Library} = crema:info(),
    print(["crema ", Version, ", librdkafka ", Library, ", OTP ", erlang:system_info(otp_release), $\n]).

-spec print(iodata()) -> ok.
print(Text) ->
    Output = crema_cli_output:open(),
    ok = crema_cli_output:write(Output, Text),
    crema_cli_output:close(Output).

%% @doc A sentence for a person, apart from what is asked for.
-spec tell(unicode:chardata()) -> ok.
tell(Text) ->
    Visible = string:trim(crema_cli_text:visible(Text), trailing),
    io:put_chars(standard_error, ["crema: ", Visible, $\n]).

%% @doc What was returned, unless it is an error.
-spec must(Result) -> Result when Result :: term().
must({error, Reason}) -> fail(Reason);
must(Result) -> Result.

%% @doc Ends the command by an error.
-spec fail(crema_error:reason() | term()) -> no_return().
fail({bad_options, #{message := Message}}) ->
    Fault = without_advice(bad_options, Message),
    Help = " -b SERVERS names brokers, --env none reads no variables; `crema help` tells more.",
    throw({failed, [Fault, Help]});
fail({Code, #{message := Message}}) when is_atom(Code) ->
    throw({failed, Message});
fail(Reason) -> throw({failed, crema_error:format(Reason)}).

%% @doc Does the same to each, and has failed if one has.
-spec each(fun((Item, State) -> {ended(), State}), [Item], State) -> {ended(), State}.
each(Do, Items, State) ->
    lists:foldl(
        fun(Item, {Before, Old}) ->
            case Do(Item, Old) of
                {ok, New} -> {Before, New};
                {failed, New} -> {failed, New}
            end
        end,
        {ok, State},
        Items
    ).

%% @doc Asks a cluster for all things of a kind, or for each of those that are named.
-spec list_or_describe(topics | groups, Given, List, Describe) -> ended() when
    Given :: crema_cli_arguments:given(),
    List :: fun((Given, crema_stdio:output(), Cluster) -> {ended(), Cluster}),
    Describe :: fun((Name :: binary(), Given, crema_stdio:output(), Cluster) -> {ended(), Cluster}),
    Cluster :: crema_cli_cluster:cluster().
list_or_describe(Kind, Given, List, Describe) ->
    Timeout = crema_cli_given:milliseconds(timeout, Given, 10),
    {ok, Cluster} = must(crema_cli_cluster:open(crema_cli_given:client(Given), Timeout)),
    Output = crema_cli_output:open(),
    {Ended, Last} =
        case maps:get(Kind, Given, []) of
            [] -> List(Given, Output, Cluster);
            Names -> each(fun(Name, C) -> Describe(Name, Given, Output, C) end, Names, Cluster)
        end,
    ok = crema_cli_output:close(Output),
    ok = crema_cli_cluster:close(Last),
    Ended.

%% @doc The message of an error, when what it advises is for who writes a program.
-spec without_advice(crema_error:code(), binary()) -> unicode:chardata().
without_advice(Code, Message) ->
    [Fault | Rest] = string:split(Message, [$\s, crema_error:hint(Code)]),
    string:trim([Fault | Rest]).
