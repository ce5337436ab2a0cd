%% Handles the messages of one partition: counts the words of each line.
-module(demo_handler).
-behaviour(crema_consumer).

-export([init/2, handle_message/2]).

-type args() :: #{crash_at := non_neg_integer(), fuse := atomics:atomics_ref()}.
-type state() :: {args(), binary:cp()}.

-spec init(map(), args()) -> {ok, state()}.
init(_Info, Args) ->
    {ok, {Args, demo_text:separators()}}.

-spec handle_message(map(), state()) -> {ack, state()}.
handle_message(#{partition := Partition, offset := Offset} = Message, {Args, Separators} = State) ->
    #{key := Key, value := Text} = Message,
    Line = binary_to_integer(Key),
    ok = demo_counter:count(Partition, Offset, #{
        number => Line,
        bytes => byte_size(Text),
        words => demo_text:words(Text, Separators)
    }),
    crash_once(Line, Args),
    ok = demo_counter:acknowledged(Partition, Offset),
    {ack, State}.

%% Counted but not acknowledged: the worst moment, for this line is delivered again.
crash_once(Line, #{crash_at := Line, fuse := Fuse}) ->
    case atomics:exchange(Fuse, 1, 1) of
        0 -> exit(crashed_on_purpose);
        1 -> ok
    end;
crash_once(_Line, _Args) ->
    ok.
