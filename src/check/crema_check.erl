%% @doc What is wrong with a connection, step by step, and what to do about it.
%%
%% `check/1' takes the options of a producer, consumer or reader. It tells whether
%% they are valid, whether the servers' names resolve, their ports can be reached,
%% speak TLS with a certificate to be trusted, and Kafka; whether the user is let
%% in; whether the brokers that the cluster names can be reached too; whether the
%% topics are there; and whether the user may read, write and join the group. It
%% takes five seconds at most, changes nothing, and leaves nothing behind.
-module(crema_check).

-export([check/1, format/1, format/2]).

-export_type([step/0, result/0]).

-type step() :: #{
    step :=
        options | names | tcp | tls | kafka | sasl | brokers | topics | read | write | group,
    status := ok | warning | failed | skipped,
    subject := binary(),
    message := binary(),
    hint := binary(),
    details := map(),
    code => crema_error:code()
}.
%% `subject': what it is about, a server, a broker, a topic or a group; `hint': what to do,
%% empty where there is nothing to be done; `code': of one that failed.

-type result() :: {ok, [step()]} | crema_error:error().

-define(DEADLINE, 5000).
-define(KAFKA_PORT, 9092).
-define(MAX_DEADLINE, 600000).
%% For closing the client and telling of it, of the deadline.
-define(MARGIN, 250).

%% @doc Checks the connection that a client with these options would have.
%%
%% Beside the options of the client there may be
%% <ul>
%% <li>`kind': `producer', `consumer' or `reader'; else what the options are of: those
%%   with `group' or `handler' of a consumer, those with `topic', `partitions' or
%%   `from' of a reader, and others of a producer</li>
%% <li>`topics': of a producer, whose options name none, the topics to ask for</li>
%% <li>`deadline': milliseconds that it may take at most, 5000 unless given</li>
%% <li>`write': whether a producer sends a message to each topic. Without it the
%%   right to write is asked for where librdkafka is 2.3 or newer, and else not
%%   checked</li>
%% </ul>
%%
%% A consumer's `handler' may be left out.
%%
%% `{ok, Steps}', or `{error, {Code, #{message := _, steps := Steps}}}' with the code
%% of the first step that failed. Raises `badarg' if the options are neither a map
%% nor a list of pairs: a client that runs is asked by `crema:status/1'.
-spec check(Options :: map() | list()) -> result().
check(Options) ->
    case crema_input:pairs(Options) of
        {ok, Pairs, _} ->
            Given = maps:from_list(Pairs),
            Kind = kind(Given),
            {Own, Rest} = own(Kind, Given),
            crema_check_step:verdict(checked(read(Kind, Own), Kind, Rest));
        error ->
            Text = <<"not the options of a client, a map or a list of pairs">>,
            erlang:error(badarg, [crema_secret:hide(Options)], crema_error:badarg(#{1 => Text}))
    end.

%% @doc The steps as text, two lines for each that failed.
-spec format(result() | [step()]) -> unicode:chardata().
format(Result) -> format(Result, plain).

%% @doc The same, in the colours of a terminal if wanted.
-spec format(result() | [step()], plain | colours) -> unicode:chardata().
format({ok, Steps}, Style) -> crema_check_step:format(Steps, Style);
format({error, {_, #{steps := Steps}}}, Style) -> crema_check_step:format(Steps, Style);
format(Steps, Style) -> crema_check_step:format(Steps, Style).

-spec kind(map()) -> term().
kind(#{kind := Kind}) -> Kind;
kind(#{group := _}) -> consumer;
kind(#{handler := _}) -> consumer;
kind(#{topic := _}) -> reader;
kind(#{partitions := _}) -> reader;
kind(#{from := _}) -> reader;
kind(_) -> producer.

%% What is the check's, and what is the client's.
-spec own(term(), map()) -> {map(), map()}.
own(Kind, Given) ->
    Keys = [kind, deadline, write | [topics || Kind =:= producer]],
    Defaults = #{deadline => ?DEADLINE, write => false, topics => []},
    {maps:merge(Defaults, maps:with(Keys, Given)), handled(Kind, maps:without(Keys, Given))}.

%% Nothing is ever handled.
-spec handled(term(), map()) -> map().
handled(consumer, Given) when not is_map_key(handler, Given) ->
    Given#{handler => fun(_) -> ok end};
handled(_, Given) ->
    Given.

-spec read(term(), map()) -> {ok, map()} | {error, atom(), binary()}.
read(Kind, _) when Kind =/= producer, Kind =/= consumer, Kind =/= reader ->
    {error, kind, <<"must be producer, consumer or reader">>};
read(_, #{deadline := Time}) when
    not is_integer(Time); Time < 2 * ?MARGIN; Time > ?MAX_DEADLINE
->
    {error, deadline, <<"must be milliseconds from 500 to 600000">>};
read(_, #{write := Write}) when not is_boolean(Write) ->
    {error, write, <<"must be true or false">>};
read(_, #{topics := []} = Own) ->
    {ok, Own};
read(_, #{topics := Topics} = Own) ->
    case crema_option_type:check(topics, Topics) of
        {ok, List} -> {ok, Own#{topics := List}};
        {error, Reason} -> {error, topics, Reason}
    end.

-spec checked({ok, map()} | {error, atom(), binary()}, term(), map()) -> [step()].
checked({error, Option, Reason}, _Kind, _Rest) ->
    Message = [atom_to_binary(Option), $\s, Reason],
    [crema_check_step:failed(options, <<>>, bad_options, Message)];
checked({ok, #{deadline := Time} = Own}, Kind, Rest) ->
    Deadline = crema_deadline:in(Time - ?MARGIN),
    case crema_settings:parse(Kind, Rest) of
        {ok, Parsed} ->
            Options = named(Own, crema_prefix:names(Parsed)),
            %% Secrets are functions from here on.
            in_process(fun() -> steps(Kind, Own, Options, Time, Deadline) end);
        {error, {Code, #{message := Message} = Details}} ->
            Faults = maps:with([faults], Details),
            [crema_check_step:failed(options, <<>>, Code, Message, Faults)]
    end.

%% With the topics that a producer is to have, as brokers know them.
-spec named(map(), map()) -> map().
named(#{topics := [_ | _] = Topics}, #{prefix := Prefix} = Parsed) ->
    Parsed#{topics => [crema_prefix:add(Prefix, Topic) || Topic <- Topics]};
named(_, Parsed) ->
    Parsed.

%% What comes for the check is not for the caller's mailbox, and ends with it.
-spec in_process(fun(() -> [step()])) -> [step()].
in_process(Fun) ->
    Self = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> Self ! {self(), Fun()} end),
    receive
        {Pid, Steps} ->
            erlang:demonitor(Monitor, [flush]),
            Steps;
        {'DOWN', Monitor, process, Pid, Reason} ->
            error(Reason)
    end.

-spec steps(crema_registry:kind(), map(), map(), pos_integer(), integer()) -> [step()].
steps(Kind, Own, Parsed, Time, Deadline) ->
    Properties = properties(Kind, Parsed),
    Security = crema_check_security:read(Properties),
    case crema_settings:named(crema_client:open(Kind, Properties, []), Parsed) of
        {ok, Port, _} ->
            ok = tokens(Port, Time, Parsed),
            Warnings = [
                crema_check_step:warning(options, <<>>, Warning)
             || Warning <- maps:get(warnings, Parsed)
            ],
            Asked = #{
                kind => Kind,
                port => Port,
                options => Parsed,
                write => maps:get(write, Own),
                security => Security,
                deadline => Deadline,
                times => #{
                    connect => Deadline - Time * 2 div 5,
                    answer => Deadline - Time div 5
                }
            },
            Steps = crema_check_cluster:steps(servers(Parsed), Asked),
            ok = crema_client:close(Port, Deadline + ?MARGIN div 2),
            Warnings ++ [valid(Kind, Security) | Steps];
        {error, {Code, #{message := Message}}} ->
            [crema_check_step:failed(options, <<>>, Code, Message)]
    end.

%% Whoever gets them ends with the port. What takes too long is told of in time.
-spec tokens(port(), pos_integer(), map()) -> ok.
tokens(Port, Time, #{oauth_timeout := Timeout} = Parsed) ->
    Options = Parsed#{oauth_timeout := min(Timeout, Time * 3 div 5)},
    _ = crema_token:start(Port, #{client => self(), name => undefined}, Options),
    ok.

-spec valid(atom(), crema_check_security:security()) -> step().
valid(Kind, #{protocol := Protocol}) ->
    Message = ["valid, of a ", atom_to_binary(Kind), " by ", Protocol],
    crema_check_step:ok(options, <<>>, Message).

%% As the client would have them, but that nothing comes of it: a topic that is
%% asked for is not made, and nobody is fenced; and brokers do not wait for messages
%% when it is asked whether a topic can be read.
-spec properties(crema_registry:kind(), map()) -> [{binary(), crema_properties:value()}].
properties(Kind, Parsed) ->
    Given = crema_properties:kafka_properties(Kind, Parsed, #{known => fun crema_client:known/1}),
    Ours = [
        {<<"allow.auto.create.topics">>, <<"false">>}
        | [{<<"fetch.wait.max.ms">>, <<"10">>} || Kind =/= producer]
    ],
    Without = [<<"transactional.id">> | [Key || {Key, _} <- Ours]],
    Ours ++ [Property || {Key, _} = Property <- Given, not lists:member(Key, Without)].

-spec servers(map()) -> [crema_check_endpoint:server()].
servers(#{bootstrap_servers := Servers}) ->
    lists:uniq([server(Server) || Server <- binary:split(Servers, <<",">>, [global])]).

-spec server(binary()) -> crema_check_endpoint:server().
server(Server) ->
    %% Behind several colons there is a port only after brackets.
    Pattern = "^(?:[A-Za-z_]+://)?(\\[[^]]*\\]|[^:]*|.*)(?::([0-9]{1,5}))?$",
    case re:run(Server, Pattern, [{capture, all_but_first, binary}]) of
        {match, [Host, <<_, _/binary>> = Port]} -> {Host, binary_to_integer(Port)};
        {match, [Host | _]} -> {Host, ?KAFKA_PORT}
    end.
