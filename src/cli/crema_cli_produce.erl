%% @private `crema produce': each line of standard input is a message, and each message
%% is answered for.
%%
%% What is read waits for reports: no more is read while too much is under way, so that
%% who writes into the pipe waits as well.
-module(crema_cli_produce).

-export([run/1]).

-record(run, {
    options :: map(),
    producer :: pid(),
    timeout :: pos_integer(),
    input :: crema_stdio:input(),
    lines :: crema_cli_lines:lines(),
    %% none: nothing more is read
    asked = none :: none | reference(),
    %% lines that are read, and of these: given to the producer, delivered, failed
    read = 0 :: non_neg_integer(),
    given = 0 :: non_neg_integer(),
    delivered = 0 :: non_neg_integer(),
    failed = 0 :: non_neg_integer(),
    ended = none :: none | iodata()
}).

%% Messages under way, beyond which nothing is read.
-define(UNDER_WAY, 20000).
-define(MOST_BYTES, 2147483647).
%% Failures that are told one by one.
-define(TOLD, 5).
-define(MARGIN_MS, 5000).

-spec run(crema_cli_arguments:given()) -> crema_cli:ended().
run(Given) ->
    Options = options(Given),
    Timeout = crema_cli_given:milliseconds(timeout, Given, 30),
    ok = crema_cli_trouble:tell(),
    {ok, Producer} = crema_cli:must(crema_producer:start_link(client(Given, Timeout))),
    ok = crema_cli_signals:take(),
    hint(),
    Ended = loop(ask(#run{
        options = Options,
        producer = Producer,
        timeout = Timeout,
        input = crema_stdio:input(),
        lines = crema_cli_lines:new(maps:get(delimiter, Given, <<"\n">>))
    })),
    judge(Ended).

-spec options(crema_cli_arguments:given()) -> map().
options(#{json := true, separator := _}) ->
    throw({usage, "--json and --key-separator exclude each other"});
options(#{key := _, separator := _}) ->
    throw({usage, "--key and --key-separator exclude each other"});
options(#{separator := <<>>}) ->
    throw({usage, "--key-separator is empty"});
options(Given) when not is_map_key(topic, Given), not is_map_key(json, Given) ->
    throw({usage, "which TOPIC is not said"});
options(Given) ->
    Given.

%% What a message may have is librdkafka's to say (message.max.bytes). A call waits for
%% places for as long as those before it may wait for their reports.
-spec client(crema_cli_arguments:given(), pos_integer()) -> map().
client(Given, Timeout) ->
    Properties = [{<<"message.timeout.ms">>, integer_to_binary(Timeout)}],
    (crema_cli_given:client(Given, Properties))#{
        max_payload_size => ?MOST_BYTES,
        full_timeout => Timeout + ?MARGIN_MS
    }.

-spec hint() -> ok.
hint() ->
    case crema_stdio:is_terminal(0) andalso crema_stdio:is_terminal(2) of
        true -> crema_cli:tell("type messages, a line each; Ctrl-D ends");
        false -> ok
    end.

%% ---- reading and reports -------------------------------------------------------

-spec loop(#run{}) -> #run{}.
loop(#run{asked = none} = Run) ->
    case under_way(Run) of
        0 -> Run;
        _ when Run#run.ended =:= none -> step(Run, infinity);
        _ -> step(Run, Run#run.timeout + ?MARGIN_MS)
    end;
loop(Run) ->
    step(Run, infinity).

-spec step(#run{}, timeout()) -> #run{}.
step(#run{asked = Asked, producer = Producer, input = Input} = Run, Time) ->
    receive
        {Asked, eof} ->
            Last = crema_cli_lines:rest(Run#run.lines),
            loop(messages(Last, Run#run{asked = none, ended = ""}));
        {Asked, Bytes} ->
            loop(ask(bytes(Bytes, Run#run{asked = none})));
        {signal, _} when Run#run.ended =/= none ->
            Run;
        {signal, Signal} ->
            Name = string:uppercase(atom_to_list(Signal)),
            loop(Run#run{asked = none, ended = ["ended by ", Name | begun(Run)]});
        {'EXIT', Input, Reason} ->
            Fault = ["standard input cannot be read: ", why(Reason) | begun(Run)],
            loop(Run#run{asked = none, ended = Fault});
        {'EXIT', Producer, Reason} ->
            %% Its reports have come, or come now.
            step_without(Run#run{asked = none, ended = ["the producer has ended: ", why(Reason)]});
        Message ->
            loop(ask(reported(crema:reports(Message), Run)))
    after Time ->
        Run
    end.

%% What has come behind the last delimiter may be half a message.
-spec begun(#run{}) -> iolist().
begun(#run{lines = Lines}) ->
    case crema_cli_lines:rest(Lines) of
        [] -> [];
        [_] -> [" within a message, which is not sent"]
    end.

-spec why(term()) -> unicode:chardata().
why({_, {Code, #{message := _}} = Reason}) when is_atom(Code) -> crema_error:format(Reason);
why(Reason) -> crema_error:format(Reason).

-spec step_without(#run{}) -> #run{}.
step_without(Run) ->
    case under_way(Run) of
        0 ->
            Run;
        _ ->
            receive
                Message -> step_without(reported(crema:reports(Message), Run))
            after ?MARGIN_MS -> Run
            end
    end.

-spec under_way(#run{}) -> non_neg_integer().
under_way(#run{given = Given, delivered = Delivered, failed = Failed}) ->
    Given - Delivered - Failed.

-spec ask(#run{}) -> #run{}.
ask(#run{asked = none, ended = none, input = Input} = Run) ->
    case under_way(Run) < ?UNDER_WAY of
        true -> Run#run{asked = crema_stdio:ask(Input)};
        false -> Run
    end;
ask(Run) ->
    Run.

-spec bytes(binary(), #run{}) -> #run{}.
bytes(Bytes, #run{lines = Lines} = Run) ->
    case crema_cli_lines:add(Bytes, Lines) of
        {Whole, New} ->
            messages(Whole, Run#run{lines = New});
        too_long ->
            failed(Run#run.read + 1, "has more than 256 MiB", Run#run{
                read = Run#run.read + 1, given = Run#run.given + 1,
                ended = "nothing is read behind a line that is too long"
            })
    end.

%% Messages that follow each other are one call; what is wrong stands for itself.
-spec messages([binary()], #run{}) -> #run{}.
messages(Lines, #run{read = Read, options = Options} = Run) ->
    Parsed = [parsed(Line, Options) || Line <- Lines],
    New = Run#run{read = Read + length(Lines), given = Run#run.given + length(Lines)},
    produce(Parsed, Read + 1, New).

-spec parsed(binary(), map()) -> {ok, crema:message()} | {error, iodata()}.
parsed(Line, #{json := true} = Options) ->
    case crema_cli_message:of_json(Line, Options) of
        {ok, #{topic := _}} = Message -> Message;
        {ok, _} -> {error, "has no topic, and none is given"};
        Error -> Error
    end;
parsed(Line, Options) ->
    crema_cli_message:of_line(Line, Options).

-spec produce([{ok, crema:message()} | {error, iodata()}], pos_integer(), #run{}) -> #run{}.
produce([], _Number, Run) ->
    Run;
produce([{error, Why} | Rest], Number, Run) ->
    produce(Rest, Number + 1, failed(Number, Why, Run));
produce(Parsed, Number, Run) ->
    {Good, Rest} = lists:splitwith(fun({Is, _}) -> Is =:= ok end, Parsed),
    produce(Rest, Number + length(Good), call([Message || {ok, Message} <- Good], Number, Run)).

-spec call([crema:message()], pos_integer(), #run{}) -> #run{}.
call([], _Number, Run) ->
    Run;
call(Messages, Number, #run{producer = Producer} = Run) ->
    case crema:produce_many_async(Producer, Messages, #{report => message, tag => Number}) of
        ok ->
            Run;
        {error, {Code, #{index := Index, message := Text}}} ->
            %% A call is taken as a whole: without this one.
            {Before, [_ | Behind]} = lists:split(Index, Messages),
            Wrong = Number + Index,
            Why = re:replace(crema_cli:without_advice(Code, Text), "^message [0-9]+: ", ""),
            call(Behind, Wrong + 1, failed(Wrong, Why, call(Before, Number, Run)));
        {error, {batch_too_large, _}} when length(Messages) > 1 ->
            {Half, Other} = lists:split(length(Messages) div 2, Messages),
            call(Other, Number + length(Half), call(Half, Number, Run));
        {error, {_, #{message := Text}}} ->
            Numbers = lists:seq(Number, Number + length(Messages) - 1),
            lists:foldl(fun(Each, Acc) -> failed(Each, Text, Acc) end, Run, Numbers)
    end.

-spec reported([{non_neg_integer(), crema:result()}] | ignored, #run{}) -> #run{}.
reported(ignored, Run) ->
    Run;
reported(Reports, Run) ->
    lists:foldl(
        fun
            ({_, {ok, _}}, Acc) -> Acc#run{delivered = Acc#run.delivered + 1};
            ({Number, {error, {_, #{message := Text}}}}, Acc) -> failed(Number, Text, Acc)
        end,
        Run,
        Reports
    ).

-spec failed(pos_integer(), unicode:chardata(), #run{}) -> #run{}.
failed(Number, Text, #run{failed = Failed} = Run) ->
    if
        Failed < ?TOLD -> crema_cli:tell(io_lib:format("message ~b: ~ts", [Number, Text]));
        Failed =:= ?TOLD -> crema_cli:tell("further failures are only counted");
        true -> ok
    end,
    Run#run{failed = Failed + 1}.

%% ---- the end -------------------------------------------------------------------------

-spec judge(#run{}) -> crema_cli:ended().
judge(#run{delivered = Delivered, read = Read, producer = Producer, ended = Ended}) ->
    Stopped = iolist_size(Ended) > 0,
    _ = not Stopped andalso crema_producer:stop(Producer, ?MARGIN_MS),
    case Read - Delivered of
        0 when not Stopped ->
            _ = crema_stdio:is_terminal(2) andalso
                crema_cli:tell([counted(Delivered), " delivered"]),
            ok;
        0 ->
            crema_cli:tell([Ended, "; all that was read before is delivered: ", counted(Delivered)]),
            failed;
        Lost ->
            crema_cli:tell([
                [[Ended, "; "] || Stopped],
                io_lib:format("~b of ~ts not delivered", [Lost, counted(Read)])
            ]),
            failed
    end.

-spec counted(non_neg_integer()) -> string().
counted(1) -> "1 message";
counted(Count) -> integer_to_list(Count) ++ " messages".
