%% @private The options of a consumer that say what follows a failure: their
%% types, their rules, and what they come to together.
-module(crema_failure_options).

-export([rows/0, check/2, describe/1, rules/0, producer/1, any_size/0, limit/1]).
-export([conflicts/2, parts/0]).

-export_type([type/0]).

%% See {@link crema_option_type:check/2}. The forms after normalisation:
%% `failures' is a list of `{Match, Policy}', policies being maps with what was
%% given; `dead_letter' a map of `topic' and `producer', which is what can be
%% produced to, or a function that returns options; `retry_topics' a list of
%% `{Topic, Milliseconds}'; `max_restarts' is as it is given.
-type type() :: failures | dead_letter | retry_topics | max_restarts.

-define(MAX_TIME, 16#FFFFFFFF).
-define(MAX_POLL_INTERVAL, 300000).
-define(ANY_SIZE, 2147483647).
-define(LIBRDKAFKA_SIZE, <<"1000000000">>).

%% What a client needs to reach the brokers that another one reaches.
-define(CONNECTION, [
    <<"security.protocol">>, <<"ssl.">>, <<"sasl.">>, <<"enable.ssl.">>, <<"enable.sasl.">>,
    <<"broker.address.">>, <<"socket.">>, <<"https.">>
]).

%% @doc The rows of the table.
-spec rows() -> [crema_options:row()].
rows() ->
    [
        row(failures, [], failures,
            <<"what follows, by kind of failure (crash, timeout, returned) or tag of its reason; "
                "what has no policy is tried again for ever">>),
        row(fatal, undefined, {function, 1},
            <<"called with a map of each failure; true stops the consumer">>),
        row(dead_letter, undefined, {optional, dead_letter},
            <<"the topic for what is given up, and who produces to it: a producer of the "
                "consumer's own, with these options, unless one is named">>),
        row(retry_topics, [], retry_topics,
            <<"topics through which a message comes again, each after so long; behind the last is "
                "dead_letter">>),
        row(max_restarts, infinity, max_restarts,
            <<"how often within that time a partition's process is started again, and what "
                "follows beyond: the consumer stops, or the partition is paused">>),
        (row(handler_timeout, undefined, {optional, timeout},
            <<"how long a handler may take for a message or batch until it is killed; else "
                "max.poll.interval.ms; infinity: at that time the member leaves its group and "
                "starts anew">>))#{unit := ms}
    ].

-spec row(atom(), term(), crema_option_type:type(), binary()) -> crema_options:row().
row(Name, Default, Type, Doc) ->
    #{name => Name, scope => [consumer], type => Type, default => Default, unit => none, doc => Doc}.

-spec check(type(), term()) -> {ok, term()} | {error, Reason :: binary()}.
check(failures, Value) ->
    case crema_input:pairs(Value) of
        {ok, Pairs, []} -> failures(Value, Pairs);
        _ -> expected(failures)
    end;
check(dead_letter, Value) ->
    case crema_input:pairs(Value) of
        {ok, Pairs, []} -> dead_letter(maps:from_list(Pairs));
        {ok, _, _} -> expected(dead_letter);
        %% The topic alone.
        error -> dead_letter(#{topic => Value})
    end;
check(retry_topics, Value) ->
    case crema_input:pairs(Value) of
        %% Each once: what is repeated counts no more.
        {ok, Pairs, []} when length(Pairs) =:= length(Value) -> retry_topics(Pairs);
        _ -> expected(retry_topics)
    end;
check(max_restarts, infinity) ->
    {ok, infinity};
check(max_restarts, {Count, Period, Then} = Value) when
    is_integer(Count), Count >= 0, is_integer(Period), Period >= 1, Period =< ?MAX_TIME
->
    case Then =:= stop orelse Then =:= pause of
        true -> {ok, Value};
        false -> expected(max_restarts)
    end;
check(Type, _) ->
    expected(Type).

-spec expected(type()) -> {error, binary()}.
expected(Type) ->
    {error, <<"must be ", (describe(Type))/binary>>}.

-spec describe(type()) -> binary().
describe(failures) ->
    <<"a list of {Match, Policy}, or one policy; a policy has retries (an integer from 0 on or "
        "infinity), backoff ({Min, Max}) and then (skip, dead_letter, retry_topic, stop or pause; "
        "not without it unless retries is infinity), a match is an atom, default the last">>;
describe(dead_letter) ->
    <<"the name of a topic, or a map or list of topic, and of producer: what can be produced to, or "
        "options of a producer">>;
describe(retry_topics) ->
    <<"a list of {Topic, Milliseconds}, with names of topics (letters, digits, dots, dashes and "
        "underscores)">>;
describe(max_restarts) ->
    <<"infinity, {Count, Milliseconds, stop} or {Count, Milliseconds, pause}">>.

%% One policy stands for all. Several are in order, which a map has not.
-spec failures(term(), [{term(), term()}]) ->
    {ok, [{atom(), map()}]} | {error, binary()}.
failures(_Value, []) ->
    {ok, []};
failures(Value, Pairs) ->
    case lists:any(fun({Key, _}) -> is_part(Key) end, Pairs) of
        true -> rows([{default, Value}]);
        false when is_list(Value) -> rows(Pairs);
        false -> expected(failures)
    end.

-spec rows([{term(), term()}, ...]) -> {ok, [{atom(), map()}]} | {error, binary()}.
rows(Given) ->
    Hidden = lists:keymember(default, 1, lists:droplast(Given)),
    Faults = [Text || {error, Text} <- [row_fault(Row) || Row <- Given]],
    case [<<"has default before others, which it hides">> || Hidden] ++ Faults of
        [] -> {ok, [{Match, maps:from_list(pairs(Policy))} || {Match, Policy} <- Given]};
        [First | _] -> {error, First}
    end.

%% What is wrong with one of them.
-spec row_fault({term(), term()}) -> ok | {error, binary()}.
row_fault({Match, _}) when not is_atom(Match) ->
    fault(["has a match that is no atom: ", crema_input:show(Match)]);
row_fault({Match, Policy}) ->
    Pairs = pairs(Policy),
    Retries = proplists:get_value(retries, Pairs, infinity),
    Ends = Retries =:= infinity orelse lists:keymember(then, 1, Pairs),
    For = ["in the policy for ", crema_input:show(Match)],
    case [Pair || Pair <- Pairs, not is_good(Pair)] of
        _ when Pairs =:= [] -> fault(["has no policy for ", crema_input:show(Match)]);
        [{Key, _} | _] -> fault(["has, ", For, ", ", part_fault(Key)]);
        [] when not Ends -> fault(["has no then ", For, ", to say what follows the retries"]);
        [] -> ok
    end.

-spec part_fault(term()) -> iodata().
part_fault(retries) -> "retries that are no integer from 0 on, nor infinity";
part_fault(backoff) -> "a backoff that is no {Min, Max} with 1 =< Min =< Max";
part_fault(then) -> "a then that is none of skip, dead_letter, retry_topic, stop and pause";
part_fault(Key) when Key =:= dead_letter; Key =:= retry_topics ->
    [atom_to_binary(Key), ", which is an option of its own, beside failures"];
part_fault(Key) -> [crema_input:show(Key), ", where there are retries, backoff and then only"].

-spec fault(iodata()) -> {error, binary()}.
fault(Text) -> {error, iolist_to_binary(Text)}.

-spec pairs(term()) -> [{term(), term()}].
pairs(Policy) ->
    case crema_input:pairs(Policy) of
        {ok, Pairs, []} -> Pairs;
        _ -> []
    end.

-spec is_part(term()) -> boolean().
is_part(Key) -> lists:member(Key, parts()).

%% @doc What a policy consists of.
-spec parts() -> [atom()].
parts() -> [retries, backoff, then].

-spec is_good({term(), term()}) -> boolean().
is_good({retries, Count}) ->
    Count =:= infinity orelse (is_integer(Count) andalso Count >= 0);
is_good({backoff, Backoff}) ->
    element(1, crema_option_type:check(backoff, Backoff)) =:= ok;
is_good({then, Then}) ->
    lists:member(Then, [skip, dead_letter, retry_topic, stop, pause]);
is_good(_) ->
    false.

-spec dead_letter(map()) -> {ok, map()} | {error, binary()}.
dead_letter(#{topic := Topic} = Given) when map_size(Given) =:= 1 ->
    dead_letter(Given#{topic := Topic, producer => []});
dead_letter(#{topic := Topic, producer := Producer} = Given) when map_size(Given) =:= 2 ->
    case {topic(Topic), producer_of(Producer)} of
        {{ok, Name}, {ok, Ref}} -> {ok, #{topic => Name, producer => Ref}};
        _ -> expected(dead_letter)
    end;
dead_letter(_) ->
    expected(dead_letter).

%% Options are in a function: they may hold secrets.
-spec producer_of(term()) -> {ok, term()} | error.
producer_of(Absent) when Absent =:= undefined; Absent =:= nil; is_boolean(Absent) ->
    error;
producer_of(Options) when is_map(Options); is_list(Options) ->
    case crema_input:pairs(Options) of
        {ok, Pairs, []} ->
            Map = maps:from_list(Pairs),
            {ok, fun() -> Map end};
        _ ->
            error
    end;
producer_of(Ref) when is_pid(Ref); is_atom(Ref); is_tuple(Ref); is_function(Ref, 0) ->
    {ok, Ref};
producer_of(_) ->
    error.

%% By Kafka's rule: librdkafka would never join the group for one that cannot be.
-spec topic(term()) -> {ok, binary()} | {error, binary()} | error.
topic(Given) ->
    case crema_option_type:check(text, Given) of
        {ok, Name} ->
            case re:run(Name, "^[a-zA-Z0-9._-]{1,249}$", [dollar_endonly]) of
                {match, _} -> {ok, Name};
                nomatch -> error
            end;
        {error, _} = Error ->
            Error
    end.

-spec retry_topics([{term(), term()}]) -> {ok, [{binary(), pos_integer()}]} | {error, binary()}.
retry_topics(Pairs) ->
    Good = [
        {Name, Delay}
     || {Topic, Delay} <- Pairs,
        is_integer(Delay),
        Delay >= 0,
        Delay =< ?MAX_TIME,
        {ok, Name} <- [topic(Topic)]
    ],
    case length(Good) =:= length(Pairs) of
        true -> {ok, Good};
        false -> expected(retry_topics)
    end.

%% ---- what must fit together -----------------------------------------------------

%% @doc The rules, as {@link crema_option_rules} has them.
-spec rules() -> [fun((map()) -> [crema_option_rules:finding()])].
rules() ->
    [
        fun ends_have_a_topic/1,
        fun ends_come/1,
        fun topics_differ/1,
        fun killed_before_leaving/1,
        fun own_producer_is_right/1
    ].

-spec ends_have_a_topic(map()) -> [crema_option_rules:finding()].
ends_have_a_topic(#{failures := Failures, retry_topics := Topics, dead_letter := Letters}) ->
    Ends = [Then || {_, #{then := Then}} <- Failures],
    [
        {fault, failures, "has then => retry_topic, which needs the option retry_topics"}
     || lists:member(retry_topic, Ends), Topics =:= []
    ] ++
        [
            {fault, failures, "has then => dead_letter, which needs the option dead_letter"}
         || lists:member(dead_letter, Ends), Letters =:= undefined
        ] ++
        [
            {fault, retry_topics, "needs the option dead_letter, where what fails at last goes"}
         || Topics =/= [], Letters =:= undefined
        ];
ends_have_a_topic(_) ->
    [].

-spec ends_come(map()) -> [crema_option_rules:finding()].
ends_come(#{failures := Failures}) ->
    [
        {warning, [
            "the policy for ", crema_input:show(Match), " in failures has then => ",
            atom_to_binary(Then), ", which never follows: without retries => N it is tried for ever"
        ]}
     || {Match, #{then := Then} = Policy} <- Failures, maps:get(retries, Policy, infinity) =:= infinity
    ];
ends_come(_) ->
    [].

%% A message would come back at once, for ever.
-spec topics_differ(map()) -> [crema_option_rules:finding()].
topics_differ(#{topics := _, retry_topics := _, dead_letter := _} = Values) ->
    #{topics := Topics, retry_topics := Retries, dead_letter := Letters} = crema_prefix:names(Values),
    Dead = [maps:get(topic, Letters) || Letters =/= undefined],
    All = Topics ++ [Topic || {Topic, _} <- Retries] ++ Dead,
    Matched = [D || D <- Dead, <<"^", _/binary>> = Pattern <- Topics, matches(D, Pattern)],
    case (All -- lists:usort(All)) ++ Matched of
        [] -> [];
        [Twice | _] -> [{fault, retry_topics_or_dead_letter(Twice, Dead), [
            "must be another topic than those consumed: ", Twice
        ]}]
    end;
topics_differ(_) ->
    [].

%% @doc Why a running consumer with these options may not subscribe to these topics.
-spec conflicts([binary()], Options :: map()) -> [iodata()].
conflicts(Topics, Options) ->
    [Why || {fault, _, Why} <- topics_differ(Options#{topics => lists:uniq(Topics)})].

%% What is no pattern librdkafka judges.
-spec matches(binary(), binary()) -> boolean().
matches(Topic, Pattern) ->
    try
        re:run(Topic, Pattern, [{capture, none}]) =:= match
    catch
        error:badarg -> false
    end.

-spec retry_topics_or_dead_letter(binary(), [binary()]) -> retry_topics | dead_letter.
retry_topics_or_dead_letter(Twice, [Twice]) -> dead_letter;
retry_topics_or_dead_letter(_, _) -> retry_topics.

%% Otherwise the limit of the group would come first.
-spec killed_before_leaving(map()) -> [crema_option_rules:finding()].
killed_before_leaving(#{handler_timeout := Timeout, kafka := Kafka}) when is_integer(Timeout) ->
    case crema_properties:integer(<<"max.poll.interval.ms">>, Kafka, ?MAX_POLL_INTERVAL) of
        Interval when is_integer(Interval), Timeout > Interval ->
            [{fault, handler_timeout, io_lib:format(
                "must not be above max.poll.interval.ms (~b ms), at which a member with a stuck "
                "handler leaves its group", [Interval])}];
        _ ->
            []
    end;
killed_before_leaving(_) ->
    [].

-spec own_producer_is_right(map()) -> [crema_option_rules:finding()].
own_producer_is_right(Values) ->
    case producer(Values) of
        {own, Options} ->
            case crema_options:parse(producer, Options()) of
                {ok, #{env := Env}} when Env =/= undefined ->
                    [{fault, dead_letter, "has a producer with env: it has the consumer's brokers, "
                        "unless bootstrap_servers says otherwise"}];
                {ok, _} -> [];
                {error, {_, #{message := Text}}} -> [{fault, dead_letter, ["has a producer: ", Text]}]
            end;
        _ ->
            []
    end.

%% @doc Who produces dead letters and what goes to retry topics: `{own, Options}',
%% a producer of the consumer's own, which reaches the brokers as the consumer
%% does, unless its options say otherwise; or `{given, Ref}'.
-spec producer(Values :: map()) -> none | {given, term()} | {own, fun(() -> map())}.
%% They go into its transactions.
producer(#{commit := exactly_once}) ->
    none;
producer(
    #{dead_letter := #{producer := Own}, bootstrap_servers := Servers, kafka := Kafka} = Values
) when
    is_function(Own, 0), is_binary(Servers)
->
    {own, fun() ->
        Given = Own(),
        Shared = maps:filter(fun(Name, _) -> is_connection(Name) end, Kafka),
        Theirs = maps:get(kafka, Given, #{}),
        {Options, Properties} = any_size(),
        All = over(Theirs, maps:merge(Shared, Properties)),
        {Read, _} = crema_properties:parse(producer, All),
        Defaults = maps:merge(Options, crema_sasl_options:shared(Values, Read)),
        maps:merge(Defaults#{bootstrap_servers => Servers}, Given#{kafka => All})
    end};
producer(#{dead_letter := #{producer := Ref}}) when not is_function(Ref, 0) ->
    {given, Ref};
producer(_) ->
    none.

%% @doc What came from brokers they may take back: they judge its size. Options and
%% properties of a producer.
-spec any_size() -> {#{atom() => term()}, #{binary() => binary()}}.
any_size() ->
    {#{max_payload_size => ?ANY_SIZE}, #{<<"message.max.bytes">> => ?LIBRDKAFKA_SIZE}}.

%% @doc How long a handler may take, in milliseconds, and whether it is killed then
%% or the member leaves the group.
-spec limit(Values :: map()) -> {pos_integer(), kill | leave}.
limit(#{handler_timeout := Timeout, kafka := Kafka}) ->
    Interval =
        case crema_properties:integer(<<"max.poll.interval.ms">>, Kafka, ?MAX_POLL_INTERVAL) of
            unknown -> ?MAX_POLL_INTERVAL;
            Known -> Known
        end,
    case Timeout of
        undefined -> {Interval, kill};
        infinity -> {Interval, leave};
        _ -> {max(1, Timeout), kill}
    end.

-spec over(term(), map()) -> term().
over(Given, Shared) ->
    case crema_input:pairs(Given) of
        {ok, Pairs, []} ->
            Names = [crema_input:text(Name) || {Name, _} <- Pairs],
            Rest = maps:filter(fun(Name, _) -> not lists:member({ok, Name}, Names) end, Shared),
            maps:to_list(Rest) ++ Pairs;
        _ ->
            Given
    end.

-spec is_connection(binary()) -> boolean().
is_connection(Name) ->
    lists:any(fun(Prefix) -> string:prefix(Name, Prefix) =/= nomatch end, ?CONNECTION).
