%% @doc Messages that are sent on because they failed: to a dead-letter topic, or
%% to a retry topic. They keep key, value and headers, and get headers that say
%% where they come from and why.
-module(crema_dead_letter).

-export([origin/1]).
-export([letter/4, due/1, send/2, deliver/3, unsent/2]).

-export_type([origin/0, letter/0, context/0]).

-type origin() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    offset := non_neg_integer(),
    timestamp := integer(),
    %% of the consumer that sent it on
    group := binary(),
    %% crash, timeout or returned; and more, without anything of the message
    failure := binary(),
    reason := binary(),
    %% in all topics together
    attempts := pos_integer(),
    %% when it was sent on
    time := integer()
}.
%% What {@link origin/1} reads. Times are milliseconds since 1970.

-type letter() :: crema_types:message().
%% As `crema:produce_many/2' takes it.

-type context() :: #{
    group := binary(),
    %% where the message was, as far as its headers are to be believed
    from := source | retry_topic,
    %% milliseconds since 1970
    now := integer(),
    %% when it is to be handled again; only of retry topics
    due => integer()
}.

-define(TOPIC, <<"crema-origin-topic">>).
-define(PARTITION, <<"crema-origin-partition">>).
-define(OFFSET, <<"crema-origin-offset">>).
-define(TIMESTAMP, <<"crema-origin-timestamp">>).
-define(GROUP, <<"crema-group">>).
-define(FAILURE, <<"crema-failure">>).
-define(REASON, <<"crema-reason">>).
-define(ATTEMPTS, <<"crema-attempts">>).
-define(TIME, <<"crema-time">>).
-define(DUE, <<"crema-due">>).

-define(ORIGIN, [?TOPIC, ?PARTITION, ?OFFSET, ?TIMESTAMP]).
-define(ALL, ?ORIGIN ++ [?GROUP, ?FAILURE, ?REASON, ?ATTEMPTS, ?TIME, ?DUE]).

%% @doc Where a message comes from that was sent on by a consumer, as its headers
%% say; `none' if it is no such message.
-spec origin(crema_consumer:message()) -> {ok, origin()} | none.
origin(#{headers := Headers}) ->
    try
        {ok, #{
            topic => text(?TOPIC, Headers),
            partition => number(?PARTITION, Headers),
            offset => number(?OFFSET, Headers),
            timestamp => number(?TIMESTAMP, Headers),
            group => text(?GROUP, Headers),
            failure => text(?FAILURE, Headers),
            reason => text(?REASON, Headers),
            attempts => number(?ATTEMPTS, Headers),
            time => number(?TIME, Headers)
        }}
    catch
        error:_ -> none
    end.

-spec text(binary(), [{binary(), term()}]) -> binary().
text(Name, Headers) ->
    {_, Text} = lists:keyfind(Name, 1, Headers),
    true = is_binary(Text),
    Text.

-spec number(binary(), [{binary(), term()}]) -> integer().
number(Name, Headers) ->
    binary_to_integer(text(Name, Headers)).

%% @private When a message of a retry topic is to be handled (ms since 1970).
-spec due(crema_consumer:message()) -> integer() | none.
due(#{headers := Headers}) ->
    try
        number(?DUE, Headers)
    catch
        error:_ -> none
    end.

%% @private What is sent on of a message that failed.
-spec letter(
    Topic :: binary(), crema_consumer:message(), crema_failure:failure(), context()
) -> letter().
letter(Topic, #{key := Key, value := Value, headers := Headers} = Message, Failure, Context) ->
    {Origin, Before} = before(Message, Context),
    #{group := Group, now := Now} = Context,
    #{kind := Kind, attempts := Attempts} = Failure,
    Own = [
        {?GROUP, Group},
        {?FAILURE, atom_to_binary(Kind)},
        {?REASON, crema_failure:text(Failure)},
        {?ATTEMPTS, integer_to_binary(Before + Attempts)},
        {?TIME, integer_to_binary(Now)}
        | [{?DUE, integer_to_binary(Due)} || #{due := Due} <- [Context]]
    ],
    Kept = [Header || {Name, _} = Header <- Headers, not lists:member(Name, ?ALL)],
    #{topic => Topic, key => Key, value => Value, headers => Kept ++ Origin ++ Own}.

%% The origin's headers, and the attempts before it came here. A message of the
%% source may have such headers too: it was a dead letter, and was sent back.
-spec before(crema_consumer:message(), context()) -> {[{binary(), binary()}], non_neg_integer()}.
before(#{headers := Headers} = Message, #{from := From}) ->
    case From =:= retry_topic andalso origin(Message) of
        {ok, #{attempts := Attempts}} ->
            {[lists:keyfind(Name, 1, Headers) || Name <- ?ORIGIN], Attempts};
        _ ->
            #{topic := Topic, partition := Partition} = Message,
            #{offset := Offset, timestamp := Timestamp} = Message,
            Numbers = [Partition, Offset, Timestamp],
            {lists:zip(?ORIGIN, [Topic | [integer_to_binary(N) || N <- Numbers]]), 0}
    end.

%% @private Sends them to what may be produced to: a producer, or a transaction.
%% It waits for the reports in a process of its own, whose end tells the outcome:
%% `{'DOWN', Ref, process, _, Outcome}', for {@link unsent/2}.
-spec send(crema:producer(), [letter(), ...]) -> reference().
send(Target, Letters) ->
    {_, Monitor} = spawn_monitor(?MODULE, deliver, [self(), Target, Letters]),
    Monitor.

%% @private
-spec deliver(Caller :: pid(), crema:producer(), [letter(), ...]) -> no_return().
deliver(Caller, Target, Letters) ->
    _ = put('$callers', [Caller]),
    exit({sent, crema:produce_many(Target, Letters)}).

%% @private Which of them have not been delivered, and why.
-spec unsent(Outcome :: term(), [letter(), ...]) -> [] | {[letter(), ...], crema_error:reason()}.
unsent({sent, {ok, Results}}, Letters) ->
    Failed = [{Letter, Reason} || {Letter, {error, Reason}} <- lists:zip(Letters, Results)],
    case lists:unzip(Failed) of
        {[], []} -> [];
        {Left, [Reason | _]} -> {Left, Reason}
    end;
unsent({sent, {error, Reason}}, Letters) ->
    {Letters, Reason};
unsent(_Crash, Letters) ->
    {error, Reason} = crema_error:make(closed, "its producer has ended", #{}),
    {Letters, Reason}.
