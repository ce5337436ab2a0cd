%% Runs sequences of commands on one group of the embedded cluster, or of real
%% brokers, beside the model of each of its partitions (crema_ct_partition).
%%
%% The first member of a group waits three seconds, so a group lives for many
%% sequences: each leaves all that was produced acknowledged and committed, and
%% one member.
%%
%% The mock cluster waits for a second less than the session before it gives
%% partitions anew, but a session must outlast those first three seconds. A holder
%% waits them out for the others, so that theirs may be short.
-module(crema_ct_sequence).

-export([start/2, run/2, trace/0]).

-record(seq, {
    bootstrap,
    session,
    shape,
    topic,
    group,
    producer,
    socket,
    members = [],
    %% a member has come or gone, and partitions may still move
    moving = false,
    %% the last answer of a partition's process
    between = none,
    parts = #{},
    %% what the commands of this sequence have done, kind by kind
    done = #{}
}).

-define(PARTITIONS, 4).
-define(DEADLINE, 15000).
-define(SESSION, 2000).
-define(HOLDERS_SESSION, 3600).
-define(REAL_SESSION, 10000).
-define(TRACED, 60).

%% @doc Groups with one member each. Their shapes: handlers of `one' message or of a
%% `batch', or of one with an `eager' strategy. crema_ct:cleanup/0 stops them.
start(Config, Shapes) ->
    New = [new(Config, Shape) || Shape <- Shapes],
    Joined =
        case proplists:is_defined(cluster, Config) of
            true -> join_held(New);
            false -> [join(Seq#seq{session = ?REAL_SESSION}) || Seq <- New]
        end,
    maps:from_list([{Seq#seq.shape, finish(Seq)} || Seq <- Joined]).

join_held(New) ->
    LetGo = [hold(Seq) || Seq <- New],
    receive
    after ?SESSION -> ok
    end,
    Joined = [join(Seq#seq{session = ?SESSION}) || Seq <- New],
    [ok = Let() || Let <- LetGo],
    Joined.

hold(#seq{socket = Socket, group = Group, shape = Shape}) ->
    crema_ct_wire:hold_group(Socket, Group, strategy(Shape), ?HOLDERS_SESSION).

new(Config, Shape) ->
    Bootstrap = crema_ct:bootstrap(Config),
    Topic = crema_ct:topic(Config, ?PARTITIONS),
    Numbers = lists:seq(0, ?PARTITIONS - 1),
    #seq{
        bootstrap = Bootstrap,
        shape = Shape,
        topic = Topic,
        group = Topic,
        producer = crema_ct:started(crema_producer:start_link(#{bootstrap_servers => Bootstrap})),
        socket = crema_ct_wire:connect(Bootstrap),
        parts = maps:from_list([{P, crema_ct_partition:new(P)} || P <- Numbers])
    }.

%% @doc Runs a sequence to its end, where all is acknowledged and committed.
%% What each kind of command has done is counted, by how many did something.
run(Commands, Seq) ->
    Ended = finish(lists:foldl(fun do/2, Seq#seq{done = #{}}, Commands)),
    {Ended#seq.done, Ended}.

do(skip, Seq) ->
    Seq;
do(Command, Seq) ->
    Seen = seen(Seq),
    note(Command),
    case command(Command, Seen) of
        nothing -> Seen;
        {Kind, #seq{done = Done} = Next} ->
            Next#seq{done = maps:update_with(Kind, fun(N) -> N + 1 end, 1, Done)}
    end.

%% @doc What was done and seen last.
trace() -> lists:reverse(get_trace()).

get_trace() ->
    case get(?MODULE) of
        undefined -> [];
        Trace -> Trace
    end.

note(What) ->
    put(?MODULE, lists:sublist([{crema_ct:now_ms(), What} | get_trace()], ?TRACED)).

%% ---- commands -----------------------------------------------------------------

command({produce, P, Count}, #seq{topic = Topic, producer = Producer} = Seq) ->
    First = log_end(P, Seq),
    {ok, Results} = crema:produce_many(Producer, [
        #{topic => Topic, partition => P, value => integer_to_binary(N)}
     || N <- lists:seq(First, First + Count - 1)
    ]),
    #{ok := Count} = crema_ct:results(Results),
    {produce, change(P, fun(Part) -> crema_ct_partition:produced(Count, Part) end, Seq)};
%% A handler that has a message answers; if none has, one is waited for.
command({handle, N, Outcome} = Command, #seq{moving = Moving} = Seq) ->
    case {waiting(Seq), where(fun crema_ct_partition:is_expected/1, Seq)} of
        {[_ | _] = Waiting, _} -> {kind(Outcome), answer(pick(N, Waiting), Outcome, Seq)};
        {[], [_ | _]} when not Moving ->
            command(Command, await(fun(S) -> waiting(S) =/= [] end, Seq));
        _ -> nothing
    end;
command({ack, N}, Seq) ->
    case pick(N, opens(Seq)) of
        none -> nothing;
        Open -> {ack, ack(Open, Seq)}
    end;
%% Half of what is open, in any order.
command({ack_some, Seed}, Seq) ->
    case opens(Seq) of
        [] ->
            nothing;
        Opens ->
            Shuffled = [O || {_, O} <- lists:sort([{erlang:phash2({Seed, O}), O} || O <- Opens])],
            Half = lists:sublist(Shuffled, (length(Opens) + 1) div 2),
            {ack_some, lists:foldl(fun ack/2, Seq, Half)}
    end;
command({again, N}, Seq) ->
    case pick(N, of_all(fun crema_ct_partition:closed/1, Seq)) of
        none -> nothing;
        Closed -> {again, ack(Closed, Seq)}
    end;
command({stale, N}, Seq) ->
    case pick(N, of_all(fun crema_ct_partition:stale/1, Seq)) of
        none ->
            nothing;
        {P, Token} ->
            case crema:ack(Token) of
                {error, {stale_assignment, _}} -> {stale, Seq};
                Other -> error({broken, stale_token, {P, Token, Other}})
            end
    end;
command({kill, P}, Seq) ->
    case crema_ct_partition:worker(part(P, Seq)) of
        none ->
            nothing;
        Worker ->
            exit(Worker, kill),
            {kill, await(fun(S) -> crema_ct_partition:worker(part(P, S)) =/= Worker end, Seq)}
    end;
command({pause, P}, #seq{moving = false} = Seq) ->
    ok = crema:pause(owner(P, Seq), place(P, Seq)),
    {pause, change(P, fun(Part) -> crema_ct_partition:paused(true, Part) end, underway(P, seen(Seq)))};
command({resume, N}, #seq{moving = false} = Seq) ->
    case pick(N, where(fun crema_ct_partition:is_paused/1, Seq)) of
        none -> nothing;
        P -> {resume, resume(P, Seq)}
    end;
command({seek, P, To}, #seq{moving = false} = Seq) ->
    Asked = change(P, fun crema_ct_partition:seeking/1, Seq),
    Where = case To of _ when is_integer(To) -> To rem (log_end(P, Seq) + 1); _ -> To end,
    {ok, [#{offset := Offset}]} = crema:seek(owner(P, Seq), place(P, Seq), Where),
    note({sought, P, Offset}),
    [Slot] = [Slot || {Slot, Of, _} <- slots(Seq), Of =:= P],
    {seek, change(P, fun(Part) -> crema_ct_partition:sought(Offset, Slot, Part) end, seen(Asked))};
command(commit, #seq{moving = false, members = Members} = Seq) ->
    Floors = maps:map(fun(_, Part) -> crema_ct_partition:certain(Part) end, Seq#seq.parts),
    [{ok, _} = crema:commit(Member) || Member <- Members],
    Committed = offsets(Seq),
    [
        maps:get(P, Committed) >= Floor orelse error({broken, not_committed, {P, Floor, Committed}})
     || {P, Floor} <- maps:to_list(Floors)
    ],
    {commit, committed(Seq)};
command(look, Seq) ->
    {look, stored(committed(Seq))};
command(join, #seq{members = [_]} = Seq) ->
    {join, join(resumed(Seq))};
command({leave, N, How}, #seq{members = [_, _] = Members} = Seq) ->
    {leave, leave(pick(N, Members), How, resumed(Seq))};
command({settle, Seed}, #seq{moving = true} = Seq) ->
    {settle, settle(Seed, Seq)};
command(_, _Seq) ->
    nothing.

kind(ack) -> handle;
kind(noack) -> handle;
kind(pause) -> pause_for;
kind(Outcome) -> Outcome.

waiting(Seq) -> where(fun(Part) -> crema_ct_partition:at(Part) =/= none end, Seq).

opens(Seq) -> of_all(fun crema_ct_partition:open/1, Seq).

where(Test, #seq{parts = Parts}) -> [P || {P, Part} <- lists:sort(maps:to_list(Parts)), Test(Part)].

of_all(Get, #seq{parts = Parts}) ->
    [{P, One} || {P, Part} <- lists:sort(maps:to_list(Parts)), One <- Get(Part)].

pick(_N, []) -> none;
pick(N, List) -> lists:nth(N rem length(List) + 1, List).

part(P, #seq{parts = Parts}) -> maps:get(P, Parts).

log_end(P, Seq) -> crema_ct_partition:log_end(part(P, Seq)).

place(P, #seq{topic = Topic}) -> {Topic, P}.

owner(P, #seq{members = Members} = Seq) ->
    [Owner] = [M || M <- Members, lists:member(place(P, Seq), maps:get(assigned, crema:status(M)))],
    Owner.

%% A pause is of a member, so it ends before partitions move.
resumed(#seq{moving = true} = Seq) -> Seq;
resumed(Seq) -> lists:foldl(fun resume/2, Seq, where(fun crema_ct_partition:is_paused/1, Seq)).

%% What follows comes at once.
resume(P, Seq) ->
    Next = change(P, fun(Part) -> crema_ct_partition:paused(false, Part) end, Seq),
    ok = crema:resume(owner(P, Seq), place(P, Seq)),
    Next.

%% A call that was decided on before the pause has begun: the partition's process is
%% in one, or it answers, as it does between two.
underway(P, Seq) ->
    Worker = crema_ct_partition:worker(part(P, Seq)),
    Asked = make_ref(),
    [Worker ! {'$gen_call', {self(), Asked}, between} || Worker =/= none],
    Known = fun(#seq{between = Answered} = S) ->
        Part = part(P, S),
        Answered =:= Asked orelse crema_ct_partition:at(Part) =/= none orelse
            crema_ct_partition:worker(Part) =:= none
    end,
    await(Known, Seq).

change(P, Change, #seq{parts = Parts} = Seq) ->
    Seq#seq{parts = maps:update_with(P, Change, Parts)}.

%% What is in the mailbox by then may have come before it or after.
ack({P, {Offset, Token}}, #seq{moving = Moving} = Seq) ->
    Asked = change(P, fun(Part) -> crema_ct_partition:acking(Offset, Part) end, Seq),
    Result = crema:ack(Token),
    note({acked, P, Offset, Result}),
    Seen = seen(Asked),
    case Result of
        ok ->
            change(P, fun(Part) -> crema_ct_partition:acked(Offset, Part) end, Seen);
        {error, {stale_assignment, _}} when Moving ->
            change(P, fun(Part) -> crema_ct_partition:refused(Offset, Part) end, Seen);
        Other ->
            error({broken, ack_refused, {P, Offset, Other}})
    end.

answer(P, Outcome, #seq{topic = Topic} = Seq) ->
    Worker = crema_ct_partition:worker(part(P, Seq)),
    Worker ! {answer, Outcome},
    note({answered, P, Worker, Outcome}),
    receive
        {answered, Worker} ->
            change(P, fun(Part) -> crema_ct_partition:answered(Outcome, Part) end, Seq);
        {{'DOWN', Topic, P}, _, process, Worker, Reason} ->
            ended(P, Worker, Reason, Seq)
    after ?DEADLINE -> error({broken, stuck, {P, Worker}})
    end.

%% ---- what is seen ---------------------------------------------------------------

%% All that is there.
seen(Seq) ->
    case event(0, Seq) of
        none -> Seq;
        Next -> seen(Next)
    end.

event(Timeout, #seq{topic = Topic} = Seq) ->
    receive
        {began, Topic, P, Worker} ->
            note({began, P, Worker}),
            Quit = quit(P, Seq),
            _ = erlang:monitor(process, Worker, [{tag, {'DOWN', Topic, P}}]),
            change(P, fun(Part) -> crema_ct_partition:started(Worker, Part) end, Quit);
        {at, Topic, P, Worker, Messages} ->
            note({given, P, Worker, [Offset || #{offset := Offset} <- Messages]}),
            change(P, fun(Part) -> given(Worker, Messages, Part) end, Seq);
        {{'DOWN', Topic, P}, _, process, Worker, Reason} ->
            ended(P, Worker, Reason, Seq);
        {Asked, {error, unknown_call}} ->
            Seq#seq{between = Asked}
    after Timeout -> none
    end.

%% A partition's process has ended before the next begins, whoever hears first.
quit(P, #seq{topic = Topic} = Seq) ->
    case crema_ct_partition:worker(part(P, Seq)) of
        none ->
            Seq;
        Worker ->
            receive
                {{'DOWN', Topic, P}, _, process, Worker, Reason} -> ended(P, Worker, Reason, Seq)
            after 2000 -> Seq
            end
    end.

ended(P, Worker, Reason, Seq) ->
    note({ended, P, Worker, Reason}),
    change(P, fun(Part) -> crema_ct_partition:ended(Worker, Reason, Part) end, Seq).

given(Worker, Messages, Part) ->
    [Slot] = lists:usort([S || #{token := {crema_token, _, S, _}} <- Messages]),
    [
        binary_to_integer(Value) =:= Offset orelse error({broken, contents, {Offset, Value}})
     || #{offset := Offset, value := Value} <- Messages
    ],
    Given = [{Offset, Token} || #{offset := Offset, token := Token} <- Messages],
    crema_ct_partition:given(Worker, Slot, Given, Part).

await(Condition, Seq) ->
    case Condition(Seq) of
        true ->
            Seq;
        false ->
            case event(?DEADLINE, Seq) of
                none -> error({broken, stuck, Seq#seq.parts});
                Next -> await(Condition, Next)
            end
    end.

committed(#seq{parts = Parts} = Seq) ->
    Offsets = offsets(Seq),
    Look = fun(P, Part) -> crema_ct_partition:committed(maps:get(P, Offsets), Part) end,
    Seq#seq{parts = maps:map(Look, Parts)}.

%% What the broker says.
offsets(#seq{topic = Topic, parts = Parts} = Seq) ->
    All = [{Topic, P} || P <- maps:keys(Parts)],
    Offsets = crema_ct_wire:committed(Seq#seq.socket, Seq#seq.group, All),
    note({committed, maps:from_list([{P, Offset} || {{_, P}, Offset} <- maps:to_list(Offsets)])}),
    maps:from_list([{P, Offset} || {{_, P}, Offset} <- maps:to_list(Offsets)]).

stored(#seq{moving = true} = Seq) ->
    Seq;
stored(#seq{parts = Parts} = Seq) ->
    [
        crema_ct_partition:stored(Slot, Stored, maps:get(P, Parts))
     || {Slot, P, Stored} <- slots(Seq)
    ],
    Seq.

slots(#seq{members = Members}) ->
    [
        {element(1, Slot), element(3, Slot), element(5, Slot)}
     || Member <- Members, Slot <- crema_ct_consume:slots(Member)
    ].

%% ---- members ----------------------------------------------------------------------

join(#seq{topic = Topic, shape = Shape, members = Members} = Seq) ->
    To = self(),
    Args = #{
        init => fun(#{partition := P}, Args) ->
            To ! {began, Topic, P, self()},
            {ok, Args}
        end,
        handle => fun(Given, State) -> handle(To, Topic, Given, State) end
    },
    Module = case Shape of batch -> crema_ct_batch_handler; _ -> crema_ct_handler end,
    Started = crema_consumer:start_link(#{
        bootstrap_servers => Seq#seq.bootstrap,
        group => Seq#seq.group,
        topics => [Topic],
        handler => {Module, Args},
        backoff => {1, 10},
        batch_messages => 5,
        drain_timeout => 200,
        kafka => #{
            'partition.assignment.strategy' => strategy(Shape),
            'session.timeout.ms' => Seq#seq.session,
            'heartbeat.interval.ms' => 100,
            'auto.commit.interval.ms' => 20,
            'fetch.wait.max.ms' => 10
        }
    }),
    Seq#seq{members = Members ++ [crema_ct:started(Started)], moving = true}.

strategy(eager) -> <<"range">>;
strategy(_) -> <<"cooperative-sticky">>.

handle(To, Topic, Given, State) ->
    Messages = case Given of #{} -> [Given]; _ -> Given end,
    To ! {at, Topic, maps:get(partition, hd(Messages)), self(), Messages},
    receive
        {answer, Answer} ->
            To ! {answered, self()},
            verdict(Answer, Messages, State)
    end.

verdict(crash, _Messages, _State) -> exit(planned);
verdict(error, _Messages, State) -> {error, planned, State};
verdict(retry, _Messages, State) -> {retry, 5, State};
verdict(pause, _Messages, State) -> {pause, 5, State};
verdict(skip, _Messages, State) -> {skip, planned, State};
verdict(up_to, Messages, State) ->
    #{offset := UpTo} = lists:nth((length(Messages) + 1) div 2, Messages),
    {ack, UpTo, State};
verdict(Answer, _Messages, State) -> {Answer, State}.

leave(Member, How, #seq{members = Members} = Seq) ->
    case How of
        stop -> ok = crema_consumer:stop(Member);
        kill -> exit(Member, kill)
    end,
    Seq#seq{members = Members -- [Member], moving = true}.

%% Until each member has its share, with traffic meanwhile; one partition's
%% handler answers nothing.
settle(Seed, Seq) ->
    settle(Seed, crema_ct:now_ms() + 2 * ?DEADLINE, Seq).

settle(Seed, Deadline, #seq{members = Members} = Seq) ->
    Shares = [length(maps:get(assigned, crema:status(M), [])) || M <- Members],
    Late = crema_ct:now_ms() > Deadline,
    case lists:usort(Shares) of
        [Share] when Share =:= ?PARTITIONS div length(Members) -> settled(Seq);
        _ when Late -> error({broken, no_balance, Shares});
        _ -> settle(Seed + 1, Deadline, meanwhile(Seed, Seq))
    end.

meanwhile(Seed, Seq) ->
    Quiet = Seed div 1000 rem ?PARTITIONS,
    Next = case event(10, Seq) of none -> Seq; Seen -> Seen end,
    case {Seed rem 20, lists:delete(Quiet, waiting(Next))} of
        {0, _} ->
            {_, Produced} = command({produce, Seed div 20 rem ?PARTITIONS, 1}, Next),
            Produced;
        {N, _} when N rem 5 =:= 1 -> moved(command({ack, Seed}, Next), Next);
        {_, []} -> Next;
        {N, Waiting} when N rem 2 =:= 0 -> answer(pick(Seed, Waiting), noack, Next);
        {_, Waiting} -> answer(pick(Seed, Waiting), ack, Next)
    end.

moved(nothing, Seq) -> Seq;
moved({_, Next}, _Seq) -> Next.

settled(Seq) ->
    #seq{parts = Parts} = Seen = seen(Seq),
    Slots = maps:from_list([{P, Slot} || {Slot, P, _} <- slots(Seq)]),
    Look = fun(P, Part) -> crema_ct_partition:moved(maps:get(P, Slots), Part) end,
    Seen#seq{parts = maps:map(Look, Parts), moving = false}.

%% ---- the end ----------------------------------------------------------------------

finish(#seq{members = [_, Second]} = Seq) ->
    finish(leave(Second, stop, resumed(Seq)));
finish(#seq{moving = true} = Seq) ->
    finish(settle(0, Seq));
finish(Seq) ->
    acknowledged(crema_ct:now_ms() + ?DEADLINE, resumed(Seq)).

%% All is handled and acknowledged, and then the lag is 0.
acknowledged(Deadline, Seq) ->
    Seen = seen(Seq),
    Answered = lists:foldl(fun(P, S) -> answer(P, ack, S) end, Seen, waiting(Seen)),
    #seq{parts = Parts} = Acked = committed(lists:foldl(fun ack/2, Answered, opens(Answered))),
    Left = [P || {_, P} <- maps:to_list(Parts), not crema_ct_partition:is_done(P)],
    Late = crema_ct:now_ms() > Deadline,
    if
        Left =:= [] -> stored(Acked);
        Late -> error({broken, not_done, Left});
        true -> acknowledged(Deadline, case event(5, Acked) of none -> Acked; Next -> Next end)
    end.
