%% @private `crema bench': how fast this machine produces to a topic and consumes it, in
%% a few seconds and by one process.
-module(crema_cli_bench).

-export([run/1]).

%% Messages of a call, calls under way, and calls of single messages that are timed.
-define(BATCH, 1000).
-define(UNDER_WAY, 32).
-define(SINGLE, 200).

-spec run(crema_cli_arguments:given()) -> crema_cli:ended().
run(#{topic := Topic} = Given) ->
    Count = maps:get(count, Given, 100000),
    Size = maps:get(size, Given, 100),
    Timeout = crema_cli_given:milliseconds(timeout, Given, 30),
    ok = crema_cli_trouble:tell(),
    Output = crema_cli_output:open(),
    Properties = [{<<"message.timeout.ms">>, integer_to_binary(Timeout)}],
    Options = crema_cli_given:client(Given, Properties),
    {ok, Producer} = crema_cli:must(crema_producer:start_link(Options)),
    Message = #{topic => Topic, value => rand:bytes(Size)},
    {ok, _} = crema_cli:must(crema:produce(Producer, Message)),
    Begin = ends(Given, Topic, Timeout),
    Singles = lists:sort([timed(Producer, Message) || _ <- lists:seq(1, ?SINGLE)]),
    ok = crema_cli_output:write(Output, latency(Singles)),
    Produced = elapsed(fun() -> produce(Producer, Message, Count, queue:new()) end),
    ok = crema_cli_output:write(Output, line("produced", Count, Size, Produced)),
    ok = crema_producer:stop(Producer),
    Consumed = consume(Given, Topic, Begin, Timeout),
    ok = crema_cli_output:write(Output, [
        line("consumed", Consumed, Size),
        "By one process, in calls of up to 1000 messages, once. The network, the\n"
        "brokers and whatever else runs have their part in it.\n"
    ]),
    crema_cli_output:close(Output).

-spec timed(pid(), crema:message()) -> non_neg_integer().
timed(Producer, Message) ->
    elapsed(fun() ->
        {ok, _} = crema_cli:must(crema:produce(Producer, Message))
    end).

%% Microseconds.
-spec elapsed(fun(() -> term())) -> pos_integer().
elapsed(Fun) ->
    Begin = erlang:monotonic_time(microsecond),
    _ = Fun(),
    max(1, erlang:monotonic_time(microsecond) - Begin).

-spec produce(pid(), crema:message(), non_neg_integer(), queue:queue(crema:ref())) -> ok.
produce(Producer, Message, Left, Calls) ->
    case queue:len(Calls) of
        0 when Left =:= 0 ->
            ok;
        Length when Left =:= 0; Length >= ?UNDER_WAY ->
            {{value, Ref}, Rest} = queue:out(Calls),
            {ok, Results} = crema_cli:must(crema:await(Ref)),
            lists:foreach(fun(Result) -> {ok, _} = crema_cli:must(Result) end, Results),
            produce(Producer, Message, Left, Rest);
        _ ->
            Batch = min(Left, ?BATCH),
            {ok, Ref} = crema_cli:must(
                crema:produce_many_async(Producer, lists:duplicate(Batch, Message))
            ),
            produce(Producer, Message, Left - Batch, queue:in(Ref, Calls))
    end.

%% Where the topic ends now.
-spec ends(crema_cli_arguments:given(), binary(), pos_integer()) -> crema_reader:positions().
ends(Given, Topic, Timeout) ->
    {ok, Reader} = crema_cli:must(crema_reader:open(reader(Given, Topic, Timeout, latest))),
    Ends = crema_reader:positions(Reader),
    ok = crema_reader:close(Reader),
    Ends.

-spec reader(crema_cli_arguments:given(), binary(), pos_integer(), term()) -> map().
reader(Given, Topic, Timeout, From) ->
    Options = crema_cli_given:client(Given),
    Options#{topic => Topic, from => From, to => 'end', timeout => Timeout}.

%% What was produced, from the first message on: connecting is not counted.
-spec consume(crema_cli_arguments:given(), binary(), crema_reader:positions(), pos_integer()) ->
    {non_neg_integer(), pos_integer()}.
consume(Given, Topic, Begin, Timeout) ->
    {ok, Reader} = crema_cli:must(crema_reader:open(reader(Given, Topic, Timeout, Begin))),
    From = erlang:monotonic_time(microsecond),
    {Count, Last} = all(Reader, 0),
    Time = max(1, erlang:monotonic_time(microsecond) - From),
    ok = crema_reader:close(Last),
    {Count, Time}.

-spec all(crema_reader:reader(), non_neg_integer()) -> {non_neg_integer(), crema_reader:reader()}.
all(Reader, Count) ->
    case crema_cli:must(crema_reader:next(Reader)) of
        {ok, Messages, Next} -> all(Next, Count + length(Messages));
        {done, Done} -> {Count, Done}
    end.

-spec latency([non_neg_integer(), ...]) -> iodata().
latency(Sorted) ->
    io_lib:format("one by one  ~b messages: each took ~.2f ms (median; the slowest ~.2f ms)\n", [
        length(Sorted), lists:nth(length(Sorted) div 2, Sorted) / 1000, lists:last(Sorted) / 1000
    ]).

-spec line(string(), {non_neg_integer(), pos_integer()}, pos_integer()) -> iodata().
line(What, {Count, Micros}, Size) ->
    line(What, Count, Size, Micros).

-spec line(string(), non_neg_integer(), pos_integer(), pos_integer()) -> iodata().
line(What, Count, Size, Micros) ->
    io_lib:format("~-10s  ~b messages in ~.2f s: ~b/s, ~.1f MB/s of values\n", [
        What, Count, Micros / 1000000, round(Count * 1000000 / Micros), Count * Size / Micros
    ]).
