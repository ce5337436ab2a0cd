%% @private A client that only asks: for topics, groups and offsets. It reads nothing,
%% and is a member of no group.
-module(crema_cli_cluster).

-include("../port/crema_commands.hrl").

-export([open/2, close/1, name/2]).
-export([topics/1, topic/2, offsets/3, groups/1, group/2, committed/2]).

-export_type([cluster/0, place/0, member/0, answer/1]).

-record(cluster, {
    port :: port(),
    client :: crema_client:client(),
    prefix :: crema_prefix:prefix(),
    timeout :: pos_integer()
}).

-opaque cluster() :: #cluster{}.
-type place() :: {Topic :: binary(), Partition :: non_neg_integer()}.
-type member() ::
    {ClientId :: binary(), InstanceId :: binary(), Host :: binary(), [place()]}.
%% What was asked, and the cluster that has heard of brokers meanwhile.
-type answer(Type) :: {{ok, Type} | crema_error:error(), cluster()}.

-define(CLOSE_MS, 500).
%% Partitions of one question.
-define(AT_ONCE, 1000).

%% @doc Opens a client with these options; questions may take so many milliseconds.
-spec open(map(), pos_integer()) -> {ok, cluster()} | crema_error:error().
open(Options, Timeout) ->
    %% A reader wants to know of a topic, which is not read here.
    case crema_settings:parse(reader, Options#{topic => <<"none">>}) of
        {ok, Parsed} -> opened(Parsed, Timeout);
        {error, _} = Error -> Error
    end.

-spec opened(map(), pos_integer()) -> {ok, cluster()} | crema_error:error().
opened(#{prefix := Prefix} = Parsed, Timeout) ->
    Known = #{known => fun crema_client:known/1},
    %% The client joins no group. But librdkafka, told by a broker that another one is a
    %% group's coordinator now, looks for its own group, and without one ends the process.
    Own = [{<<"group.id">>, <<"crema">>}],
    Properties = Own ++ crema_properties:kafka_properties(reader, Parsed, Known),
    case crema_settings:named(crema_client:open(reader, Properties, []), Parsed) of
        {ok, Port, _} ->
            ok = crema_registry:register(reader, Port, #{}, #{}),
            Named = Parsed#{name => undefined, statistics_deltas => []},
            {ok, #cluster{
                port = Port,
                client = crema_client:new(reader, Port, Named),
                prefix = Prefix,
                timeout = Timeout
            }};
        {error, _} = Error ->
            Error
    end.

-spec close(cluster()) -> ok.
close(#cluster{port = Port}) ->
    crema_client:close(Port, crema_deadline:in(?CLOSE_MS)).

%% @doc The name of a topic or group, as brokers know it.
-spec name(cluster(), binary()) -> binary().
name(#cluster{prefix = Prefix}, Name) -> crema_prefix:add(Prefix, Name).

%% @doc All topics, each with its partitions.
-spec topics(cluster()) -> answer([{binary(), [crema_check_topics:partition()]}]).
topics(Cluster) ->
    case ask(?CMD_DESCRIBE, fun(Tag, Left) -> {Tag, <<>>, 1, Left} end, Cluster) of
        {{ok, {_, Topics}}, New} -> {{ok, [{Name, P} || {Name, ok, P} <- Topics]}, New};
        Failed -> Failed
    end.

%% @doc The partitions of a topic.
-spec topic(binary(), cluster()) -> answer([crema_check_topics:partition()]).
topic(Name, Cluster) ->
    case ask(?CMD_DESCRIBE, fun(Tag, Left) -> {Tag, Name, 0, Left} end, Cluster) of
        {{ok, {_, [{_, ok, Partitions} | _]}}, New} ->
            {{ok, Partitions}, New};
        {{ok, {_, [{_, {error, _} = Error, _} | _]}}, New} ->
            {error, {Code, #{message := Text}}} = crema_port:error_or(Error),
            {crema_error:make(Code, [Name, ": ", Text], #{}, <<>>), New};
        {{ok, _}, New} ->
            {crema_error:make(unknown_topic_or_part, ["there is no topic ", Name], #{}), New};
        Failed ->
            Failed
    end.

%% @doc Where these partitions begin or end. All must have a leader. Each question is
%% about some of them: it is read at once, and for each partition all before it are looked at.
-spec offsets(beginning | 'end', [place()], cluster()) -> answer(#{place() => integer()}).
offsets(Where, Places, Cluster) ->
    offsets(Where, Places, #{}, Cluster).

-spec offsets(beginning | 'end', [place()], Known, cluster()) -> answer(Known) when
    Known :: #{place() => integer()}.
offsets(_Where, [], Known, Cluster) ->
    {{ok, Known}, Cluster};
offsets(Where, Places, Known, Cluster) ->
    {Some, Rest} = lists:split(min(?AT_ONCE, length(Places)), Places),
    Question = fun(Tag, Left) -> {Tag, Some, Where, 0, Left} end,
    case placed(ask(?CMD_LIST_OFFSETS, Question, Cluster)) of
        {{ok, Found}, New} -> offsets(Where, Rest, maps:merge(Known, Found), New);
        Failed -> Failed
    end.

%% @doc All groups with their states, and why there may be more.
-spec groups(cluster()) -> answer({[{binary(), binary()}], [crema_error:error()]}).
groups(Cluster) ->
    case ask(?CMD_GROUPS, fun(Tag, Left) -> {Tag, <<>>, 0, Left} end, Cluster) of
        {{ok, {Groups, Errors}}, New} ->
            {{ok, {Groups, [crema_port:error_or(Error) || Error <- Errors]}}, New};
        Failed ->
            Failed
    end.

%% @doc A group's state, how it shares out partitions, its coordinator, its members.
-spec group(binary(), cluster()) ->
    answer({binary(), binary(), none | {integer(), binary(), integer()}, [member()]}).
group(Name, Cluster) ->
    ask(?CMD_GROUP, fun(Tag, Left) -> {Tag, Name, 0, Left} end, Cluster).

%% @doc What a group has committed; below 0 where it has nothing.
-spec committed(binary(), cluster()) -> answer(#{place() => integer()}).
committed(Name, Cluster) ->
    placed(ask(?CMD_GROUP_OFFSETS, fun(Tag, Left) -> {Tag, Name, 0, Left} end, Cluster)).

-spec placed(answer(term())) -> answer(#{place() => integer()}).
placed({{ok, Offsets}, Cluster}) ->
    {{ok, maps:from_list([{{Topic, P}, Offset} || {Topic, P, Offset} <- Offsets])}, Cluster};
placed(Failed) ->
    Failed.

-spec ask(crema_port:command(), fun((binary(), non_neg_integer()) -> term()), cluster()) ->
    answer(term()).
ask(Command, Question, #cluster{port = Port, timeout = Timeout} = Cluster) ->
    Data = fun(Tag) -> term_to_binary(Question(Tag, Timeout)) end,
    case crema_port:ask_async(Port, Command, Data) of
        {ok, Ref} -> await(Ref, Cluster);
        {error, _} = Error -> {Error, Cluster}
    end.

%% The driver answers in time, and brokers that refuse the user will go on doing so.
-spec await(reference(), cluster()) -> answer(term()).
await(Ref, #cluster{client = Client} = Cluster) ->
    receive
        {Ref, Bytes} ->
            {explained(crema_port:answer(Bytes), Client), Cluster};
        Message when element(1, Message) =/= 'EXIT' ->
            case crema_client:handle(Message, Client) of
                {ok, New} -> heard(Ref, Cluster#cluster{client = New});
                {other, _, New} -> await(Ref, Cluster#cluster{client = New});
                {fatal, Reason, New} -> {{error, Reason}, Cluster#cluster{client = New}};
                unknown -> await(Ref, Cluster)
            end
    end.

-spec heard(reference(), cluster()) -> answer(term()).
heard(Ref, #cluster{client = Client} = Cluster) ->
    case crema_client:last_error(Client) of
        {Code, _} = Reason when
            Code =:= authentication;
            Code =:= sasl_authentication_failed;
            Code =:= unsupported_sasl_mechanism
        ->
            {{error, Reason}, Cluster};
        _ ->
            await(Ref, Cluster)
    end.

%% Why brokers do not answer is what was heard of them last.
-spec explained(term(), crema_client:client()) -> term().
explained({error, {Code, _}} = Error, Client) when Code =:= timed_out; Code =:= transport ->
    case crema_client:last_error(Client) of
        none -> Error;
        Reason -> {error, Reason}
    end;
explained(Answer, _Client) ->
    Answer.
