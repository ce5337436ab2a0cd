%% @private The part of a diagnosis that a cluster is needed for: who is let in, what
%% it says of itself, and what the user may do there. It owns a client of the kind in
%% question, which does nothing but ask.
-module(crema_check_cluster).

-include("../port/crema_commands.hrl").

-export([steps/2]).

-export_type([asked/0]).

-type asked() :: #{
    kind := producer | consumer | reader,
    port := port(),
    %% parsed, and a producer's topics
    options := map(),
    write := boolean(),
    security := crema_check_security:security(),
    deadline := integer(),
    times := crema_check_endpoint:times()
}.

%% What has come so far.
-record(seen, {
    waiting :: [pid()],
    outcomes = [] :: [{pid(), crema_check_endpoint:outcome()}],
    describe :: reference(),
    answer = none :: none | {ok, description()} | crema_error:error(),
    problems = [] :: [crema_error:reason()]
}).

-type description() :: {
    [{integer(), binary(), inet:port_number()}], [crema_check_topics:described()]
}.

%% @doc All steps but that of the options.
-spec steps([crema_check_endpoint:server()], asked()) -> [crema_check_step:step()].
steps(Servers, #{security := Security, times := Times} = Asked) ->
    _ = process_flag(trap_exit, true),
    Workers = [{start(Server, Security, Times), Server} || Server <- Servers],
    {ok, Describe} = crema_check_topics:ask(Asked, ?CMD_DESCRIBE, <<>>, 0),
    Waiting = [Pid || {Pid, _} <- Workers],
    Seen = gather(#seen{waiting = Waiting, describe = Describe}, Asked),
    Outcomes = [gathered(Worker, Seen#seen.outcomes) || Worker <- Workers],
    lists:append([Steps || #{steps := Steps} <- Outcomes]) ++
        judge(Seen#seen.answer, Outcomes, Seen#seen.problems, Asked).

-spec start(
    crema_check_endpoint:server(), crema_check_security:security(), crema_check_endpoint:times()
) -> pid().
start(Server, Security, Times) ->
    Self = self(),
    spawn_link(fun() ->
        Self ! {checked, self(), crema_check_endpoint:check(Server, Security, Times)}
    end).

-spec gathered({pid(), crema_check_endpoint:server()}, [{pid(), crema_check_endpoint:outcome()}]) ->
    crema_check_endpoint:outcome().
gathered({Pid, _} = Worker, Outcomes) ->
    case lists:keyfind(Pid, 1, Outcomes) of
        {_, Outcome} -> Outcome;
        false -> late(Worker)
    end.

%% Whoever is still at it is not waited for.
-spec late({pid(), crema_check_endpoint:server()}) -> crema_check_endpoint:outcome().
late({Pid, Server}) ->
    true = exit(Pid, kill),
    crema_check_endpoint:late(Server).

-spec gather(#seen{}, asked()) -> #seen{}.
gather(#seen{waiting = Waiting, describe = Describe} = Seen, #{deadline := Deadline} = Asked) ->
    case is_enough(Seen, Asked) of
        true ->
            Seen;
        false ->
            #{port := Port} = Asked,
            receive
                {checked, Pid, Outcome} ->
                    Outcomes = [{Pid, Outcome} | Seen#seen.outcomes],
                    New = Seen#seen{waiting = lists:delete(Pid, Waiting), outcomes = Outcomes},
                    gather(New, Asked);
                {Describe, Bytes} ->
                    gather(Seen#seen{answer = crema_port:answer(Bytes)}, Asked);
                {crema_event, Port, Bytes} ->
                    gather(note(crema_port:event(Bytes), Seen), Asked);
                {crema_token, _, {_, _} = Failed} ->
                    gather(note({error, Failed}, Seen), Asked);
                {'EXIT', _, Reason} when Reason =/= normal ->
                    exit(Reason)
            after crema_deadline:left(Deadline) ->
                Seen
            end
    end.

-spec note(tuple(), #seen{}) -> #seen{}.
note({error, Reason}, #seen{problems = Problems} = Seen) ->
    Seen#seen{problems = [Reason | Problems]};
note(_, Seen) ->
    Seen.

%% Nothing that is still to come would say more.
-spec is_enough(#seen{}, asked()) -> boolean().
is_enough(#seen{waiting = [_ | _]}, _) ->
    false;
is_enough(#seen{answer = {ok, _}}, _) ->
    true;
is_enough(#seen{outcomes = Pairs, problems = Problems}, #{security := Security}) ->
    Outcomes = [Outcome || {_, Outcome} <- Pairs],
    not is_usable(Outcomes) orelse refused(Outcomes, Problems, Security) =/= none.

-spec is_usable([crema_check_endpoint:outcome()]) -> boolean().
is_usable(Outcomes) ->
    lists:any(fun(#{usable := Usable}) -> Usable end, Outcomes).

-spec judge(
    none | {ok, description()} | crema_error:error(),
    [crema_check_endpoint:outcome()],
    [crema_error:reason()],
    asked()
) -> [crema_check_step:step()].
judge({ok, {Brokers, _}}, Outcomes, Problems, #{security := Security} = Asked) ->
    [sasl_ok(Security) | described(Brokers, Outcomes, Problems, Asked)];
judge(Answer, Outcomes, Problems, #{security := #{mechanism := Mechanism} = Security} = Asked) ->
    case {is_usable(Outcomes), refused(Outcomes, Problems, Security)} of
        {false, _} ->
            later([sasl, brokers], "no server can be used", Asked);
        {true, {Code, Message}} ->
            [
                crema_check_step:failed(sasl, Mechanism, Code, Message)
                | later([brokers], "the user is not let in", Asked)
            ];
        {true, none} ->
            {Code, Message} = unanswered(Answer, Outcomes, Problems),
            [
                crema_check_step:skipped(sasl, <<>>, "nothing was answered")
                | [
                    crema_check_step:failed(brokers, <<>>, Code, Message)
                    | later([], "nothing was answered", Asked)
                ]
            ]
    end.

-spec later([crema_check_step:name()], string(), asked()) -> [crema_check_step:step()].
later(Names, Why, #{kind := Kind}) ->
    All = Names ++ [topics | crema_check_topics:rights(Kind)],
    [crema_check_step:skipped(Name, <<>>, Why) || Name <- All].

%% Why nobody is let in.
-spec refused(
    [crema_check_endpoint:outcome()], [crema_error:reason()], crema_check_security:security()
) -> {crema_error:code(), iodata()} | none.
refused(Outcomes, Problems, Security) ->
    case lists:filtermap(fun(Outcome) -> mismatch(Outcome, Security) end, Outcomes) of
        [Mismatch | _] -> Mismatch;
        [] -> rejected(Problems, Security)
    end.

-spec mismatch(crema_check_endpoint:outcome(), crema_check_security:security()) ->
    false | {true, {crema_error:code(), iodata()}}.
mismatch(#{mechanisms := [_ | _] = Offered}, #{sasl := false, protocol := Protocol}) ->
    {true,
        {sasl_expected, [
            "the listener wants SASL (", lists:join(", ", Offered), "), and security.protocol is ",
            Protocol
        ]}};
mismatch(#{mechanisms := []}, #{sasl := true, protocol := Protocol}) ->
    {true,
        {sasl_not_expected, ["the listener has no SASL, and security.protocol is ", Protocol]}};
mismatch(#{mechanisms := [_ | _] = Offered}, #{sasl := true, mechanism := Mechanism}) ->
    case lists:member(Mechanism, Offered) of
        true ->
            false;
        false ->
            {true,
                {unsupported_sasl_mechanism, [
                    "the listener does not offer ", Mechanism, ", but ", lists:join(", ", Offered)
                ]}}
    end;
mismatch(_, _) ->
    false.

-spec rejected([crema_error:reason()], crema_check_security:security()) ->
    {crema_error:code(), iodata()} | none.
rejected(Problems, #{mechanism := Mechanism}) ->
    Codes = [authentication, sasl_authentication_failed, token_failed],
    case [P || {Code, _} = P <- Problems, lists:member(Code, Codes)] of
        [{Code, #{message := Message}} | _] ->
            Known = crema_limits:login(Mechanism),
            {Code, [[[Known, " "] || Known =/= <<>>], Message]};
        [] ->
            none
    end.

-spec sasl_ok(crema_check_security:security()) -> crema_check_step:step().
sasl_ok(#{sasl := true, mechanism := Mechanism}) ->
    crema_check_step:ok(sasl, Mechanism, "the user is let in");
sasl_ok(#{protocol := Protocol}) ->
    crema_check_step:skipped(sasl, <<>>, ["security.protocol is ", Protocol]).

-spec unanswered(
    none | crema_error:error(), [crema_check_endpoint:outcome()], [crema_error:reason()]
) -> {crema_error:code(), iodata()}.
unanswered(_, _, [{Code, #{message := Message}} | _]) ->
    {Code, Message};
unanswered({error, {Code, #{message := Message}}}, _, []) when
    Code =/= timed_out, Code =/= transport
->
    {Code, Message};
%% librdkafka calls it a failure of the transport that no broker was ready in time.
unanswered(_, Outcomes, []) ->
    Late = "the cluster did not describe itself in time",
    case [S || #{steps := Steps} <- Outcomes, #{step := tcp, status := warning} = S <- Steps] of
        [#{subject := Subject, message := Why} | _] ->
            {firewalled, [Late, "; ", Subject, ": ", Why]};
        [] ->
            {timed_out, Late}
    end.

%% The brokers that the cluster names are looked at while it is asked for topics.
-spec described(
    [{integer(), binary(), inet:port_number()}],
    [crema_check_endpoint:outcome()],
    [crema_error:reason()],
    asked()
) -> [crema_check_step:step()].
described(Brokers, Outcomes, Problems, #{security := Security, deadline := Deadline} = Asked) ->
    Known = maps:from_list([{Server, Outcome} || #{server := Server} = Outcome <- Outcomes]),
    Left = crema_deadline:left(Deadline),
    Times = #{connect => Deadline - Left div 3, answer => Deadline - Left div 6},
    Workers = [
        {start({Host, Port}, Security, Times), Broker}
     || {_, Host, Port} = Broker <- Brokers, not is_map_key({Host, Port}, Known)
    ],
    Topics = crema_check_topics:steps(Problems, Asked),
    Found = [{Broker, outcome(Worker, Broker, Deadline)} || {Worker, Broker} <- Workers],
    Old = [{B, maps:get({H, P}, Known)} || {_, H, P} = B <- Brokers, is_map_key({H, P}, Known)],
    brokers(lists:sort(Old ++ Found), Known) ++ Topics.

-spec outcome(
    pid(), {integer(), binary(), inet:port_number()}, crema_deadline:deadline()
) -> crema_check_endpoint:outcome().
outcome(Worker, {_, Host, Port}, Deadline) ->
    receive
        {checked, Worker, Outcome} -> Outcome;
        {'EXIT', Worker, Reason} when Reason =/= normal -> exit(Reason)
    after crema_deadline:left(Deadline) -> late({Worker, {Host, Port}})
    end.

-spec brokers(
    [{{integer(), binary(), inet:port_number()}, crema_check_endpoint:outcome()}],
    #{crema_check_endpoint:server() => crema_check_endpoint:outcome()}
) -> [crema_check_step:step()].
brokers(All, Known) ->
    case [unreachable(Broker, Steps, Known) || {Broker, #{usable := false, steps := Steps}} <- All] of
        [] ->
            Names = lists:join(", ", [name(Broker) || {Broker, _} <- All]),
            Details = #{brokers => [Broker || {Broker, _} <- All]},
            [crema_check_step:ok(brokers, <<>>, ["all can be reached: ", Names], Details)];
        Unreachable ->
            Unreachable
    end.

-spec name({integer(), binary(), inet:port_number()}) -> iodata().
name({Id, Host, Port}) ->
    io_lib:format("~b at ~ts:~b", [Id, Host, Port]).

%% What the cluster says of itself is not to blame for a broker that does not answer,
%% nor for one that the options name as well.
-spec unreachable(
    {integer(), binary(), inet:port_number()},
    [crema_check_step:step()],
    #{crema_check_endpoint:server() => crema_check_endpoint:outcome()}
) -> crema_check_step:step().
unreachable({Id, Host, Port} = Broker, Steps, Known) ->
    [#{code := Code, message := Why} | _] = [S || #{status := failed} = S <- Steps],
    Told =
        case Code =:= no_answer orelse is_map_key({Host, Port}, Known) of
            true -> Code;
            false -> advertised_unreachable
        end,
    Message = ["the cluster says that broker ", name(Broker), " is, and from here: ", Why],
    Subject = iolist_to_binary(["broker ", integer_to_binary(Id)]),
    crema_check_step:failed(brokers, Subject, Told, Message, #{
        broker => Broker, code => Code
    }).
