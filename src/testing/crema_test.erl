%% @doc For tests of what produces and consumes, without a broker.
%%
%% A producer that is started with `record => true' sends nothing: what is produced
%% by it is recorded, and reported as if a broker had it. All else is as with any
%% producer: checks, middleware, partitioners, serializers, buffers, transactions,
%% variants, pools, callbacks and events.
%%
%% A recording belongs to the test that caused it: to the process that produced it,
%% to those that called that one or started it, and to who has said {@link allow/1} of
%% one of these. So tests that run side by side do not see each other's. It is
%% forgotten when its test ends.
%%
%% ```
%% {ok, _} = crema_producer:start_link(#{name => orders, record => true}),
%% {ok, _} = crema:produce(orders, #{topic => "orders", key => "ada", value => "1"}),
%% #{value := <<"1">>} = crema_test:assert_produced(#{topic => "orders", key => "ada"}).
%% '''
-module(crema_test).

-export([produced/0, produced/1, aborted/0, failed/0, pending/0]).
-export([assert_produced/1, assert_produced/2, refute_produced/1, refute_produced/2]).
-export([allow/1, reset/0, fail/1, fail/2, delay/1, delay/2]).
-export([handle/2, handle/3, assert_acked/1, assert_acked/2, refute_acked/1, refute_acked/2]).
-export([ack_state/1]).

-export_type([message/0, match/0, options/0, handled/0]).

-type handled() :: #{
    verdicts := [atom() | tuple()],
    acked := [Offset :: integer()],
    produced := [map()],
    left := [crema_consumer:message()],
    next := continue | {wait, Millis :: non_neg_integer()} | stop | crash,
    state := term(),
    messages := [crema_consumer:message()]
}.
%% What has become of messages, and what the consumer would do now: see {@link handle/3}.

-type message() :: #{
    producer := term(),
    topic := binary(),
    partition := integer(),
    offset := integer(),
    key := binary() | undefined,
    value := binary() | undefined,
    headers := [{binary(), binary() | undefined}],
    timestamp := integer(),
    error => crema_error:code()
}.
%% As it was sent, with the producer's name (or pid) and what was reported. Null is
%% `undefined'. One that failed has an `error', its code.

-type match() :: #{atom() => term()} | fun((message()) -> boolean()).
%% Fields as they are given to produce, and no others looked at; or a function.

-type options() :: #{
    times => pos_integer() | infinity,
    match => match(),
    status => crema_error:status()
}.
%% `times': how many messages, 1 unless that is said; `match': which, any unless that
%% is said; `status': whether one that fails may be in the log.

-define(FIELDS, [producer, topic, partition, offset, key, value, headers, timestamp, error]).
%% Where librdkafka's numbers of errors are.
-define(CODES, lists:seq(-200, -1) ++ lists:seq(1, 200)).

%% @doc What this test has produced, in its order: reported as delivered, and, if in a
%% transaction, committed.
-spec produced() -> [message()].
produced() ->
    in([produced]).

%% @doc Those of them that match.
-spec produced(match()) -> [message()].
produced(Match) ->
    lists:filter(matcher(Match), produced()).

%% @doc What was part of transactions that were aborted.
-spec aborted() -> [message()].
aborted() ->
    in([aborted]).

%% @doc What was reported as an error.
-spec failed() -> [message()].
failed() ->
    in([failed]).

%% @doc What is not reported yet, or part of a transaction that is open.
-spec pending() -> [message()].
pending() ->
    in([pending, open]).

-spec in([crema_recordings:state()]) -> [message()].
in(States) ->
    {_, Recordings} = crema_recordings:list(),
    in(States, Recordings).

-spec in([crema_recordings:state()], [crema_recordings:recording()]) -> [message()].
in(States, Recordings) ->
    [
        maps:remove(state, Recording)
     || #{state := State} = Recording <- Recordings, lists:member(State, States)
    ].

%% @doc Returns the first produced message that matches. Without one it raises
%% `{not_produced, _}', with what there is.
-spec assert_produced(match()) -> message().
assert_produced(Match) ->
    assert_produced(Match, 0).

%% @doc The same, and waits for one that is yet to come, for so many milliseconds.
-spec assert_produced(match(), timeout()) -> message().
assert_produced(Match, Timeout) ->
    case first(Match, Timeout) of
        {ok, Message} ->
            Message;
        none ->
            There = [{produced, produced()}, {aborted, aborted()}, {failed, failed()}, {pending, pending()}],
            Shown = [{State, Messages} || {State, [_ | _] = Messages} <- There],
            erlang:error({not_produced, maps:from_list([{expected, Match} | Shown])})
    end.

%% @doc Raises `{produced, _}' when a produced message matches.
-spec refute_produced(match()) -> ok.
refute_produced(Match) ->
    refute_produced(Match, 0).

%% @doc The same when one comes within so many milliseconds.
-spec refute_produced(match(), timeout()) -> ok.
refute_produced(Match, Timeout) ->
    case first(Match, Timeout) of
        {ok, Message} -> erlang:error({produced, #{refuted => Match, message => Message}});
        none -> ok
    end.

-spec first(match(), timeout()) -> {ok, message()} | none.
first(Match, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    first_by(matcher(Match), crema_deadline:in(Timeout)).

-spec first_by(fun((message()) -> boolean()), crema_deadline:deadline()) -> {ok, message()} | none.
first_by(Matches, Deadline) ->
    {Version, Recordings} = crema_recordings:list(),
    case lists:search(Matches, in([produced], Recordings)) of
        {value, Message} ->
            {ok, Message};
        false ->
            Left = crema_deadline:left(Deadline),
            case Left =/= 0 andalso crema_recordings:changed(Version, Left) of
                ok -> first_by(Matches, Deadline);
                _ -> none
            end
    end.

%% @doc What that process produces is this test's too, and what those produce that it
%% has started, or works for: of an application's supervisor, what the whole
%% application does. It ends with the test, and is an error while another test has it.
-spec allow(pid() | crema_types:client()) -> ok.
allow(Process) ->
    case crema_registry:whereis_name(Process) of
        Pid when is_pid(Pid) ->
            case crema_recordings:allow(Pid) of
                ok -> ok;
                {taken, Other} -> erlang:error({allowed_already, #{process => Process, by => Other}})
            end;
        undefined ->
            erlang:error({not_running, Process})
    end.

%% @doc Forgets what this test has produced, and what it has asked for by {@link
%% fail/2} and {@link delay/2}.
-spec reset() -> ok.
reset() ->
    crema_recordings:reset().

%% @doc Has the next message that this test produces fail.
-spec fail(crema_error:code()) -> ok.
fail(Code) ->
    fail(Code, #{}).

%% @doc Has messages fail: with a code of librdkafka's they are reported so, with that
%% `status' (`not_persisted'); with one of crema's own, as `queue_full', the whole call
%% is refused.
-spec fail(crema_error:code(), options()) -> ok.
fail(Code, Options) when is_atom(Code) ->
    ok = checked(Options, [times, match, status]),
    What =
        case is_map_key(Code, crema_error_table:own()) of
            true -> {refuse, Code};
            false -> {fail, Code, number(Code), status(maps:get(status, Options, not_persisted))}
        end,
    crema_recordings:rule(rule(What, Options, 1)).

-spec number(crema_error:code()) -> integer().
number(Code) ->
    Is = fun(Number) -> {error, {Known, _}} = crema_anchor:error_of(Number, #{}), Known =:= Code end,
    case lists:search(Is, ?CODES) of
        {value, Number} -> Number;
        false -> erlang:error({unknown_code, Code})
    end.

-spec status(term()) -> byte().
status(not_persisted) -> 0;
status(possibly_persisted) -> 1;
status(persisted) -> 2;
status(Other) -> erlang:error({bad_option, {status, Other}}).

%% @doc Has all that this test produces reported so many milliseconds later.
-spec delay(non_neg_integer()) -> ok.
delay(Millis) ->
    delay(Millis, #{}).

%% @doc The same of some; `times' is `infinity' unless that is said.
-spec delay(non_neg_integer(), options()) -> ok.
delay(Millis, Options) when is_integer(Millis), Millis >= 0, Millis < 1 bsl 32 ->
    ok = checked(Options, [times, match]),
    crema_recordings:rule(rule({delay, Millis}, Options, infinity)).

-spec rule(tuple(), options(), pos_integer() | infinity) -> crema_recordings:rule().
rule(What, Options, Default) ->
    Times = maps:get(times, Options, Default),
    Times =:= infinity orelse (is_integer(Times) andalso Times > 0) orelse
        erlang:error({bad_option, {times, Times}}),
    #{what => What, times => Times, match => matcher(maps:get(match, Options, #{}))}.

-spec checked(map(), [atom()]) -> ok.
checked(Options, Known) ->
    case maps:to_list(maps:without(Known, Options)) of
        [] -> ok;
        [Unknown | _] -> erlang:error({bad_option, Unknown})
    end.

%% ---- handlers -----------------------------------------------------------------------

%% @doc Gives made-up messages to a handler, as a partition's process of a consumer
%% would, but in the calling process: maps of `key', `value', `headers', `timestamp' and
%% `offset', of which none is required, or values alone.
-spec handle(crema_consumer:handler(), [map() | binary()]) -> handled().
handle(Handler, Messages) ->
    handle(Handler, Messages, #{}).

%% @doc The same with options: those of a consumer, none of which is required, and
%% `topic', `partition', the `offset' of the first message, the `state' to begin with
%% (instead of what the handler's init/2 says), and `retries'.
%%
%% What it returns has `verdicts', what the handler returned each time, without its
%% state; `acked', the offsets that are acknowledged; `produced', with `commit =>
%% exactly_once'; `left', the messages that it was not given yet, or is to be given
%% again; `next', what the consumer would do now: `continue', `{wait, Millis}', `stop' or
%% `crash'; the `state'; and all `messages', as they were made up. A wait ends it, unless
%% there are `retries' left: it then goes on at once.
-spec handle(crema_consumer:handler(), [map() | binary()], map() | list()) -> handled().
handle(Handler, Messages, Options) when is_list(Options) ->
    handle(Handler, Messages, maps:from_list(Options));
handle(Handler, Messages, Options) ->
    crema_drive:handle(Handler, Messages, Options).

-type token() :: crema_consumer:message() | crema_consumer:token().

%% @doc Raises `{not_acked, _}' unless a message that {@link handle/3} has made up is
%% acknowledged, or each of several.
-spec assert_acked(token() | [token()]) -> ok.
assert_acked(Messages) ->
    assert_acked(Messages, 0).

%% @doc The same, and waits for it, for so many milliseconds.
-spec assert_acked(token() | [token()], timeout()) -> ok.
assert_acked(Messages, Timeout) when is_list(Messages) ->
    Deadline = crema_deadline:in(Timeout),
    lists:foreach(fun(One) -> assert_acked(One, crema_deadline:left(Deadline)) end, Messages);
assert_acked(Message, Timeout) ->
    case crema_drive_consumer:await(token(Message), Timeout) of
        acked -> ok;
        State -> erlang:error({not_acked, #{message => Message, state => State}})
    end.

%% @doc Raises `{acked, _}' when it is acknowledged.
-spec refute_acked(token()) -> ok.
refute_acked(Message) ->
    refute_acked(Message, 0).

%% @doc The same when it is within so many milliseconds.
-spec refute_acked(token(), timeout()) -> ok.
refute_acked(Message, Timeout) ->
    case crema_drive_consumer:await(token(Message), Timeout) of
        acked -> erlang:error({acked, #{message => Message}});
        _ -> ok
    end.

%% @doc What has become of it by now: it may have been declared failed ({@link
%% crema:nack/2}).
-spec ack_state(token()) -> waiting | acked | {nacked, Reason :: term()}.
ack_state(Message) ->
    crema_drive_consumer:await(token(Message), 0).

-spec token(token()) -> crema_consumer:token().
token(#{token := Token}) -> Token;
token(Token) -> Token.

%% ---- matching -----------------------------------------------------------------------

-spec matcher(match()) -> fun((message()) -> boolean()).
matcher(Fun) when is_function(Fun, 1) ->
    Fun;
matcher(Fields) when is_map(Fields) ->
    Known = maps:map(fun field/2, Fields),
    fun(Message) -> maps:with(maps:keys(Known), Message) =:= Known end.

%% As it is recorded.
-spec field(atom(), term()) -> term().
field(_, Null) when Null =:= undefined; Null =:= nil ->
    undefined;
field(topic, Topic) ->
    crema_packet:topic(Topic);
field(Name, Given) when Name =:= key; Name =:= value ->
    crema_packet:bytes(Given);
field(headers, Headers) when is_map(Headers) ->
    field(headers, crema_packet:header_pairs(Headers));
field(headers, Headers) ->
    [{header(Name), field(value, Value)} || {Name, Value} <- Headers];
field(Name, Value) ->
    lists:member(Name, ?FIELDS) orelse erlang:error({not_a_field, Name}),
    Value.

-spec header(iodata() | atom()) -> binary() | error.
header(Name) when is_atom(Name) -> atom_to_binary(Name);
header(Name) -> crema_packet:bytes(Name).
