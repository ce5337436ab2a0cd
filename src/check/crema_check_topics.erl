%% @private Topics of a diagnosis: whether they are there, and what the user may do
%% with them and with the group.
-module(crema_check_topics).

-include("../port/crema_commands.hrl").

-export([steps/2, rights/1, ask/4]).

-export_type([described/0, partition/0]).

-type described() :: {binary(), ok | {error, term()}, [partition()]}.
-type partition() :: {
    Number :: non_neg_integer(), Leader :: integer(), Replicas :: integer(), InSync :: integer()
}.
-type answer() :: ok | {ok, term()} | crema_error:error().

-define(OF_TOPIC, 0).
-define(OF_GROUP, 1).

%% @doc What a client of a kind needs the right to.
-spec rights(producer | consumer | reader) -> [read | write | group].
rights(producer) -> [write];
rights(consumer) -> [read, group];
rights(reader) -> [read].

%% @doc A question to the cluster, which {@link crema_port:answer/1} reads the answer to.
-spec ask(crema_check_cluster:asked(), crema_port:command(), binary(), non_neg_integer()) ->
    {ok, crema_port:tag()} | crema_error:error().
ask(#{port := Port, deadline := Deadline}, Command, Name, Number) ->
    Left = crema_deadline:left(Deadline),
    crema_port:ask_async(Port, Command, fun(Tag) -> term_to_binary({Tag, Name, Number, Left}) end).

%% @doc Steps topics, read, write and group. `Problems' are what the client has met.
-spec steps([crema_error:reason()], crema_check_cluster:asked()) -> [crema_check_step:step()].
steps(Problems, #{kind := Kind, options := Options} = Asked) ->
    case names(Options) of
        [] ->
            Why = "no topic is named",
            [crema_check_step:skipped(Name, <<>>, Why) || Name <- [topics | rights(Kind)]];
        Names ->
            {Steps, There} = lists:unzip([topic(Name, Asked) || Name <- Names]),
            Topics = lists:uniq(lists:append(There)),
            lists:append(Steps) ++
                lists:append([right(Right, Topics, Problems, Asked) || Right <- rights(Kind)])
    end.

-spec names(map()) -> [binary()].
names(#{topic := Topic}) when is_binary(Topic) -> [Topic];
names(#{partitions := Partitions}) when is_list(Partitions) ->
    lists:uniq([Topic || {Topic, _} <- Partitions]);
names(#{topics := Topics}) when is_list(Topics) -> Topics;
names(_) -> [].

%% With the topics that are there.
-spec topic(binary(), crema_check_cluster:asked()) -> {[crema_check_step:step()], [binary()]}.
topic(<<"^", _/binary>> = Pattern, Asked) ->
    case answer(?CMD_DESCRIBE, <<>>, 1, Asked) of
        {ok, {_, Topics}} -> matched(Pattern, [Name || {Name, ok, _} <- Topics]);
        {error, Reason} -> {[failed(topics, Pattern, Reason)], []}
    end;
topic(Name, Asked) ->
    case answer(?CMD_DESCRIBE, Name, 0, Asked) of
        {ok, {_, [{_, ok, Partitions} | _]}} ->
            {[led(Name, [Leader || {_, Leader, _, _} <- Partitions])], [Name]};
        {ok, {_, [{_, {error, _} = Error, _} | _]}} ->
            {error, Reason} = crema_port:error_or(Error),
            {[failed(topics, Name, Reason)], []};
        {ok, _} -> {[failed(topics, Name, unknown(Name))], []};
        {error, Reason} -> {[failed(topics, Name, Reason)], []}
    end.

-spec unknown(binary()) -> crema_error:reason().
unknown(Name) ->
    {error, Reason} = crema_error:make(unknown_topic_or_part, ["there is no topic ", Name], #{}),
    Reason.

%% A few of them stand for all.
-spec matched(binary(), [binary()]) -> {[crema_check_step:step()], [binary()]}.
matched(Pattern, Names) ->
    case [Name || Name <- Names, re:run(Name, Pattern, [{capture, none}]) =:= match] of
        [] ->
            {[crema_check_step:warning(topics, Pattern, "matches no topic yet")], []};
        Matching ->
            Message = io_lib:format("matches ~b topics", [length(Matching)]),
            Details = #{topics => Matching},
            {[crema_check_step:ok(topics, Pattern, Message, Details)], lists:sublist(Matching, 3)}
    end.

-spec led(binary(), [integer()]) -> crema_check_step:step().
led(Name, Leaders) ->
    Details = #{partitions => length(Leaders), leaders => Leaders},
    case length([none || -1 <- Leaders]) of
        0 ->
            Message = io_lib:format("~b partitions, all with a leader", [length(Leaders)]),
            crema_check_step:ok(topics, Name, Message, Details);
        Without ->
            Message = io_lib:format("~b of ~b partitions have no leader", [Without, length(Leaders)]),
            crema_check_step:failed(topics, Name, leader_not_available, Message, Details)
    end.

-spec failed(crema_check_step:name(), binary(), crema_error:reason()) -> crema_check_step:step().
failed(Step, Subject, {Code, #{message := Message}}) ->
    crema_check_step:failed(Step, Subject, Code, Message).

-spec right(
    read | write | group, [binary()], [crema_error:reason()], crema_check_cluster:asked()
) -> [crema_check_step:step()].
right(Right, [], _Problems, _Asked) ->
    [crema_check_step:skipped(Right, <<>>, "there is no topic to ask for")];
right(read, Topics, _Problems, Asked) ->
    [read(Topic, Asked) || Topic <- Topics];
right(write, Topics, _Problems, #{write := true} = Asked) ->
    written(Topics, Asked);
right(write, Topics, Problems, Asked) ->
    [write(Topic, Problems, Asked) || Topic <- Topics];
right(group, Topics, Problems, Asked) ->
    [group(Topics, Problems, Asked)].

-spec read(binary(), crema_check_cluster:asked()) -> crema_check_step:step().
read(Topic, Asked) ->
    case answer(?CMD_READABLE, Topic, 0, Asked) of
        {ok, true} -> crema_check_step:ok(read, Topic, "may be read");
        {error, Reason} -> failed(read, Topic, Reason)
    end.

%% A producer that is not let in elsewhere (as a user of idempotence) has told so.
-spec write(binary(), [crema_error:reason()], crema_check_cluster:asked()) ->
    crema_check_step:step().
write(Topic, Problems, Asked) ->
    case [P || {cluster_authorization_failed, _} = P <- Problems] of
        [Problem | _] -> failed(write, Topic, Problem);
        [] -> may_write(Topic, operations(Topic, ?OF_TOPIC, Asked))
    end.

-spec may_write(binary(), answer()) -> crema_check_step:step().
may_write(Topic, {ok, [_ | _] = Operations}) ->
    case is_allowed(<<"write">>, Operations) of
        true ->
            crema_check_step:ok(write, Topic, "may be written to");
        false ->
            crema_check_step:failed(
                write, Topic, topic_authorization_failed, "the user may not write to the topic"
            )
    end;
may_write(Topic, {ok, []}) ->
    crema_check_step:skipped(write, Topic, "the brokers do not tell it: only a message would show");
may_write(Topic, {error, {unsupported_feature, _}}) ->
    crema_check_step:skipped(write, Topic,
        "librdkafka asks for it from 2.3 on; with this one only a message would show (write)");
may_write(Topic, {error, Reason}) ->
    failed(write, Topic, Reason).

%% What the user may do there, of brokers that tell it: not all do, and some do not
%% even answer. That is no fault, and leaves half of the time to what is asked next.
-spec operations(binary(), ?OF_TOPIC | ?OF_GROUP, crema_check_cluster:asked()) -> answer().
operations(Name, Of, #{deadline := Deadline} = Asked) ->
    Half = crema_deadline:in(crema_deadline:left(Deadline) div 2),
    case answer(?CMD_OPERATIONS, Name, Of, Asked#{deadline := Half}) of
        {error, {timed_out, _}} -> {ok, []};
        Answer -> Answer
    end.

-spec is_allowed(binary(), [binary()]) -> boolean().
is_allowed(Operation, Operations) ->
    lists:member(Operation, [string:lowercase(Known) || Known <- Operations]).

%% A message to each, by a producer like that in question.
-spec written([binary()], crema_check_cluster:asked()) -> [crema_check_step:step()].
written(Topics, #{options := Options, deadline := Deadline}) ->
    Kafka = maps:remove(<<"transactional.id">>, maps:get(kafka, Options)),
    Given = (maps:without([topics, warnings, sources, name], Options))#{kafka := Kafka},
    case crema_producer:start_own(Given) of
        {ok, Producer} ->
            Steps = [message(Topic, Producer, Deadline) || Topic <- Topics],
            ok = crema_producer:stop(Producer, crema_deadline:left(Deadline)),
            Steps;
        {error, {Code, #{message := Message}}} ->
            [crema_check_step:failed(write, Topic, Code, Message) || Topic <- Topics]
    end.

-spec message(binary(), pid(), crema_deadline:deadline()) -> crema_check_step:step().
message(Topic, Producer, Deadline) ->
    Message = #{topic => Topic, value => <<"crema check">>},
    case crema:produce(Producer, Message, #{timeout => crema_deadline:left(Deadline)}) of
        {ok, #{partition := Partition, offset := Offset}} ->
            Text = io_lib:format("a message was written to partition ~b at ~b", [Partition, Offset]),
            crema_check_step:ok(write, Topic, Text);
        {error, Reason} ->
            failed(write, Topic, Reason)
    end.

%% Whoever may see what the group has committed may describe it; to join takes the
%% right to read, which newer brokers and librdkafkas tell.
-spec group([binary()], [crema_error:reason()], crema_check_cluster:asked()) ->
    crema_check_step:step().
group([Topic | _], Problems, #{options := #{group := Group}} = Asked) ->
    case [P || {group_authorization_failed, _} = P <- Problems] of
        [Problem | _] -> failed(group, Group, Problem);
        [] -> joinable(Group, committed(Topic, Asked), Asked)
    end.

%% A coordinator that does not want to be found is told by an event, and waited for.
-spec committed(binary(), crema_check_cluster:asked()) -> answer().
committed(Topic, #{port := Port, deadline := Deadline} = Asked) ->
    Left = crema_deadline:left(Deadline),
    Data = fun(Tag) -> term_to_binary({Tag, [{Topic, 0}], Left}) end,
    Sent = crema_port:ask_async(Port, ?CMD_COMMITTED, Data),
    await(Sent, [group_authorization_failed], Asked).

-spec joinable(binary(), answer(), crema_check_cluster:asked()) -> crema_check_step:step().
joinable(Group, {error, Reason}, _Asked) ->
    failed(group, Group, Reason);
joinable(Group, {ok, _}, Asked) ->
    case operations(Group, ?OF_GROUP, Asked) of
        {ok, [_ | _] = Operations} ->
            case is_allowed(<<"read">>, Operations) of
                true ->
                    crema_check_step:ok(group, Group, "may be joined");
                false ->
                    crema_check_step:failed(
                        group, Group, group_authorization_failed, "the user may not join the group"
                    )
            end;
        _ ->
            crema_check_step:ok(group, Group, "its committed offsets may be read")
    end.

-spec answer(crema_port:command(), binary(), non_neg_integer(), crema_check_cluster:asked()) ->
    answer().
answer(Command, Name, Number, Asked) ->
    await(ask(Asked, Command, Name, Number), [], Asked).

-spec await({ok, crema_port:tag()} | crema_error:error(), [crema_error:code()], Asked) ->
    answer()
when
    Asked :: crema_check_cluster:asked().
await({ok, Ref} = Sent, Codes, #{port := Port, deadline := Deadline} = Asked) ->
    receive
        {Ref, Bytes} ->
            crema_port:answer(Bytes);
        %% Others are left for who asks for them.
        {crema_event, Port, Bytes} when Codes =/= [] ->
            case crema_port:event(Bytes) of
                {error, {Code, _}} = Error ->
                    case lists:member(Code, Codes) of
                        true -> Error;
                        false -> await(Sent, Codes, Asked)
                    end;
                _ ->
                    await(Sent, Codes, Asked)
            end
    after crema_deadline:left(Deadline) ->
        crema_error:make(timed_out, "there was no time left to ask", #{})
    end;
await(Error, _Codes, _Asked) ->
    Error.
