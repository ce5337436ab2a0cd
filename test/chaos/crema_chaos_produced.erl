%% Judges what producers were told of their messages by what the log holds.
%%
%% Delivered messages are in the log once and where they were said to be; those not
%% persisted are not there; those possibly persisted are there or not; what is there
%% of a process is in its order in each partition; each accepted message is reported
%% once, in its time.
%%
%% After messages have timed out librdkafka sends again what is still in doubt, and
%% brokers cannot tell that they have it: so a message that was reported later may
%% be there twice. Then its last copy counts. See docs/producer.md.
-module(crema_chaos_produced).

-export([violations/1]).

-type copies() :: #{crema_chaos_history:message() => [{crema_chaos_story:place(), integer()}]}.

-spec violations(crema_chaos_story:story()) -> [crema_chaos_checker:violation()].
violations(#{messages := Messages} = Story) ->
    Places = [Place || Place <- crema_chaos_story:places(Story), is_produced(Place, Story)],
    Copies = copies(Places, Story),
    Doubtful = doubtful(Messages),
    Each = maps:fold(
        fun(Message, Told, Found) ->
            Of = maps:get(Message, Copies, []),
            message(Message, Told, Of, Doubtful, Story) ++ Found
        end,
        [],
        Messages
    ),
    Unknown = [
        {unknown, #{message => Message, copies => Of}}
     || {Message, Of} <- maps:to_list(Copies), not is_map_key(Message, Messages)
    ],
    Each ++ Unknown ++ lists:append([overtaken(Place, Copies, Story) || Place <- Places]).

is_produced({Topic, _}, #{topics := Topics}) ->
    case Topics of
        #{Topic := #{role := produced}} -> true;
        #{} -> false
    end.

%% Where each message is, the last copy first.
-spec copies([crema_chaos_story:place()], crema_chaos_story:story()) -> copies().
copies(Places, Story) ->
    lists:foldl(
        fun({Place, {Offset, Message}}, Copies) ->
            Copies#{Message => [{Place, Offset} | maps:get(Message, Copies, [])]}
        end,
        #{},
        [{Place, Entry} || Place <- Places, Entry <- crema_chaos_story:log(Place, uncommitted, Story)]
    ).

%% Since when messages of a client have been in doubt: not those that it was not to
%% send again.
doubtful(Messages) ->
    maps:fold(
        fun(_, {{_, Client, _, _}, _, Reports}, Found) ->
            lists:foldl(
                fun(At, Acc) -> Acc#{Client => min(At, maps:get(Client, Acc, At))} end,
                Found,
                [At || {At, {failed, Status, Code}} <- Reports, is_doubt(Status, Code)]
            )
        end,
        #{},
        Messages
    ).

is_doubt(possibly_persisted, Code) -> not lists:member(Code, [purge_inflight, unconfirmed]);
is_doubt(not_persisted, Code) -> Code =:= msg_timed_out.

message(Message, {Call, Accepted, Reports}, Copies, Doubtful, Story) ->
    About = #{message => Message, copies => Copies, reports => Reports, call => Call},
    [
        {Kind, About}
     || Kind <-
            reported(Message, Accepted, Reports, Story) ++
                late(Call, Accepted, Reports, Story) ++
                borne_out(Call, Accepted, Reports, Copies, Story) ++
                repeated(Call, Reports, Copies, Doubtful, Story)
    ].

%% ---- reports ------------------------------------------------------------------------

%% A process that was killed has not heard what came of its messages.
reported(_, refused, [], _Story) -> [];
reported(_, _, [_], _Story) -> [];
reported({Process, _}, _, [], Story) ->
    [unreported || crema_chaos_story:killed(process, Process, Story) =:= infinity];
reported(_, _, [_ | _], _Story) -> [reported_twice].

late({_, Client, _, _}, Accepted, [{At, _}], #{clients := Clients} = Story) when is_integer(Accepted) ->
    Margin = crema_chaos_checker:bound(report_margin, Story),
    case Clients of
        #{Client := #{timeout := Timeout}} ->
            [late || At - Accepted > (Timeout + Margin) * 1000];
        #{} ->
            []
    end;
late(_Call, _Accepted, _Reports, _Story) ->
    [].

%% ---- what the log says ---------------------------------------------------------------

borne_out(_, refused, [], Copies, _Story) ->
    [refuted || Copies =/= []];
borne_out(_, _, [{_, {delivered, _, _}}], [], _Story) ->
    [lost];
borne_out({Topic, Client, _, _}, _, [{_, {delivered, Partition, Offset}}], Copies, Story) ->
    Counted =
        case is_strict(Client, Story) of
            true -> [hd(Copies)];
            false -> Copies
        end,
    Said = fun({Place, At}) -> Place =:= {Topic, Partition} andalso (At =:= Offset orelse Offset < 0) end,
    [elsewhere || not lists:any(Said, Counted)];
borne_out(_, _, [{_, {failed, not_persisted, _}}], Copies, _Story) ->
    [refuted || Copies =/= []];
borne_out({Topic, _, _, _}, _, _, Copies, _Story) ->
    [elsewhere || {{Other, _}, _} <- Copies, Other =/= Topic].

repeated(_, _, [], _Doubtful, _Story) ->
    [];
repeated(_, _, [_], _Doubtful, _Story) ->
    [];
repeated({_, Client, _, _}, Reports, _, Doubtful, Story) ->
    Slack = crema_chaos_checker:bound(report_margin, Story) * 1000,
    Since = maps:get(Client, Doubtful, infinity),
    Told = lists:max([0 | [At || {At, _} <- Reports]]),
    Excused =
        not is_strict(Client, Story) orelse Reports =:= [] orelse Told + Slack >= Since,
    [repeated || not Excused].

is_strict(Client, #{clients := Clients}) ->
    maps:get(ordering, maps:get(Client, Clients, #{}), strict) =:= strict.

%% ---- order --------------------------------------------------------------------------

overtaken(Place, Copies, #{messages := Messages} = Story) ->
    {Found, _} = lists:foldl(
        fun({Offset, {Process, Number} = Message}, {Found, Last}) ->
            Client = client(Message, Messages),
            Counts = is_strict(Client, Story) andalso is_last(Place, Offset, Message, Copies),
            case Last of
                #{{Process, Client} := Later} when Counts, Later > Number ->
                    By = #{message => Message, by => {Process, Later}, place => Place, offset => Offset},
                    {[{overtaken, By} | Found], Last};
                #{} when Counts ->
                    {Found, Last#{{Process, Client} => Number}};
                #{} ->
                    {Found, Last}
            end
        end,
        {[], #{}},
        crema_chaos_story:log(Place, uncommitted, Story)
    ),
    Found.

client(Message, Messages) ->
    case Messages of
        #{Message := {{_, Client, _, _}, _, _}} -> Client;
        #{} -> none
    end.

is_last(Place, Offset, Message, Copies) ->
    Offset =:= lists:max([At || {P, At} <- maps:get(Message, Copies), P =:= Place]).
