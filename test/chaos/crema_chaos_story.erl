%% A history put in order by what it is about: what the judges of chaos look at.
-module(crema_chaos_story).

-export([new/0, entry/2, places/1, log/3, killed/3, gone/2, is_disturbed/3, is_broker_away/3]).
-export_type([story/0, place/0, time/0, note/0]).

%% crema's, in microseconds.
-define(STOP_TIMEOUT, 10000000).

-type time() :: integer().
-type place() :: {Topic :: binary(), Partition :: non_neg_integer()}.
-type message() :: crema_chaos_history:message().

%% What was done with an offset in a slot; messages are known of those begun.
-type note() :: {time(), began | acked | refused | failed | crashed, Offset :: integer() | all}.

-type story() :: #{
    bounds := #{atom() => term()},
    topics := #{binary() => map()},
    groups := #{binary() => map()},
    clients := #{term() => map()},
    processes := #{integer() => Node :: term()},
    members := #{term() => map()},
    %% A call is shared by its messages.
    messages := #{
        message() => {
            Call :: {binary(), Client :: term(), Transaction :: term(), time()},
            Accepted :: none | refused | time(),
            Reports :: [{time(), crema_chaos_history:outcome()}]
        }
    },
    transactions := #{term() => {Asked :: none | commit | abort, Outcome :: atom(), time()}},
    %% When the end of a transaction was asked for.
    asked := #{term() => time()},
    slots := #{{Member :: term(), Slot :: term()} => {place(), Begun :: time(), [note()]}},
    %% What handlers were given, by group and place: the last first.
    given := #{{binary(), place()} => [{Offset :: integer(), message()}]},
    commits := #{{binary(), place()} => [{time(), Offset :: integer()}]},
    sought := #{{binary(), place()} => [{time(), seek | reset, Offset :: integer()}]},
    %% Members, and slots, that could not commit or lost what they had.
    troubled := #{term() => true},
    %% When members were told that a commit of a place failed, and how.
    failed := #{{Member :: term(), place()} => [{time(), Reason :: atom()}]},
    %% Slots whose member was stopped.
    stopped := #{term() => time()},
    %% Slots that have told their end, and when.
    ended := #{term() => time()},
    killed := #{{Kind :: atom(), Who :: term()} => time()},
    faults := [{time(), on | off, Fault :: term()}],
    logs := #{{place(), committed | uncommitted} => [[{integer(), message()}]]},
    batches := #{place() => #{Broker :: integer() => [crema_chaos_segments:batch()]}},
    samples := #{Node :: term() => #{'before' | 'after' => #{atom() => integer()}}},
    marks := #{run | calm | drained | last => time()}
}.

-spec new() -> story().
new() ->
    Empty = [
        bounds, topics, groups, clients, processes, members, messages, transactions, asked, slots,
        given, commits, sought, troubled, failed, stopped, ended, killed, logs, batches, samples, marks
    ],
    (maps:from_keys(Empty, #{}))#{faults => []}.

%% @doc Takes the entries of a history one after another.
-spec entry(crema_chaos_history:entry(), story()) -> story().
entry(#{what := What, at := At} = Entry, #{marks := Marks} = Story) ->
    part(What, Entry, Story#{marks := Marks#{last => At}}).

part(run, #{at := At} = Entry, Story) ->
    (mark(run, At, Story))#{bounds := maps:get(bounds, Entry, #{})};
part(topic, #{topic := Topic} = Entry, Story) ->
    put_in(topics, Topic, Entry, Story);
part(group, #{group := Group} = Entry, Story) ->
    put_in(groups, Group, Entry, Story);
part(client, #{client := Client} = Entry, Story) ->
    put_in(clients, Client, Entry, Story);
part(process, #{process := Process, node := Node}, Story) ->
    put_in(processes, Process, Node, Story);
part(member, #{member := Member} = Entry, Story) ->
    put_in(members, Member, Entry, Story);
part(What, Entry, Story) when What =:= produce; What =:= accepted; What =:= refused ->
    lists:foldl(
        fun(Number, Acc) -> message({process(Entry), Number}, What, Entry, Acc) end,
        Story,
        maps:get(numbers, Entry)
    );
part(reported, #{reports := Reports} = Entry, Story) ->
    lists:foldl(
        fun({Number, Outcome}, Acc) -> message({process(Entry), Number}, Outcome, Entry, Acc) end,
        Story,
        Reports
    );
part(What, #{transaction := Name, at := At} = Entry, #{transactions := All} = Story) ->
    {Asked, Outcome, _} = maps:get(Name, All, {none, none, At}),
    New =
        case What of
            begun -> {Asked, Outcome, At};
            commit_asked -> {commit, Outcome, At};
            abort_asked -> {abort, Outcome, At};
            ended -> {Asked, maps:get(outcome, Entry), At}
        end,
    AskedAt = [At || What =:= commit_asked orelse What =:= abort_asked],
    Noted = lists:foldl(fun(T, Acc) -> put_in(asked, Name, T, Acc) end, Story, AskedAt),
    put_in(transactions, Name, New, Noted);
part(What, #{slot := _} = Entry, Story) ->
    slot(What, Entry, Story);
part(lost, #{member := Member} = Entry, Story) ->
    lost(Member, place(Entry), Story);
part(commit_failed, #{member := Member, partition := _, reason := Reason, at := At} = Entry, Story) ->
    add_to(failed, {Member, place(Entry)}, {At, Reason}, Story);
part(commit_failed, #{member := Member}, Story) ->
    put_in(troubled, Member, true, Story);
part(What, #{at := At, offset := Offset} = Entry, Story) when What =:= seek; What =:= reset ->
    add_to(sought, in_group(Entry), {At, What, Offset}, Story);
part(killed, #{kind := slot, who := {Member, Slot}, at := At}, Story) ->
    noted([{At, crashed, all}], #{member => Member, slot => Slot, at => At}, Story);
part(killed, #{kind := Kind, who := Who, at := At}, Story) ->
    put_in(killed, {Kind, Who}, At, Story);
part(fault, #{at := At, fault := Fault}, #{faults := Faults} = Story) ->
    Story#{faults := [{At, on, Fault} | Faults]};
part(fault_over, #{at := At, fault := Fault}, #{faults := Faults} = Story) ->
    Story#{faults := [{At, off, Fault} | Faults]};
part(What, #{at := At}, Story) when What =:= calm; What =:= drained ->
    mark(What, At, Story);
part(commit_seen, #{at := At, offset := Offset} = Entry, Story) ->
    add_to(commits, in_group(Entry), {maps:get(time, Entry, At), Offset}, Story);
part(log, #{isolation := Isolation, entries := Entries} = Entry, Story) ->
    add_to(logs, {place(Entry), Isolation}, Entries, Story);
part(batches, #{broker := Broker, batches := Batches} = Entry, #{batches := All} = Story) ->
    Place = place(Entry),
    put_in(batches, Place, (maps:get(Place, All, #{}))#{Broker => Batches}, Story);
part(sample, #{node := Node, 'when' := When, values := Values}, #{samples := All} = Story) ->
    put_in(samples, Node, (maps:get(Node, All, #{}))#{When => Values}, Story).

message(Message, What, #{at := At} = Entry, #{messages := All} = Story) ->
    Unknown = {{none, none, none, At}, none, []},
    {Call, Accepted, Reports} = maps:get(Message, All, Unknown),
    New =
        case What of
            produce -> {call(Entry), Accepted, Reports};
            accepted -> {Call, At, Reports};
            refused -> {Call, refused, Reports};
            Outcome -> {Call, Accepted, [{At, Outcome} | Reports]}
        end,
    Story#{messages := All#{Message => New}}.

call(#{topic := Topic, client := Client, transaction := Transaction, at := At}) ->
    {Topic, Client, Transaction, At}.

%% ---- slots -------------------------------------------------------------------------

slot(assigned, #{at := At} = Entry, Story) ->
    with_slot(Entry, fun(_, Begun, Notes) -> {place(Entry), min(At, Begun), Notes} end, Story);
slot(unassigned, #{why := Why, at := At} = Entry, Story) ->
    Name = name(Entry),
    Ended = put_in(ended, Name, At, Story),
    case Why of
        lost -> put_in(troubled, Name, true, Ended);
        stopped -> put_in(stopped, Name, At, Ended);
        revoked -> Ended
    end;
slot(handling, #{at := At, messages := Messages} = Entry, Story) ->
    Began = [{At, began, Offset} || {Offset, _} <- Messages],
    Noted = with_slot(
        Entry,
        fun(_, Begun, Notes) -> {place(Entry), Begun, lists:reverse(Began, Notes)} end,
        Story
    ),
    given(Entry, Noted);
slot(crashed, #{at := At} = Entry, Story) ->
    noted([{At, crashed, all}], Entry, Story);
slot(What, #{at := At, offsets := Offsets} = Entry, Story) ->
    Kind =
        case What of
            acknowledged -> acked;
            ack_refused -> refused;
            failed -> failed
        end,
    noted([{At, Kind, Offset} || Offset <- Offsets], Entry, Story).

noted(New, Entry, Story) ->
    with_slot(
        Entry, fun(Place, Begun, Notes) -> {Place, Begun, lists:reverse(New, Notes)} end, Story
    ).

with_slot(#{at := At} = Entry, Change, #{slots := Slots} = Story) ->
    {Place, Begun, Notes} = maps:get(name(Entry), Slots, {none, At, []}),
    put_in(slots, name(Entry), Change(Place, Begun, Notes), Story).

given(#{member := Member, messages := Messages} = Entry, #{members := Members} = Story) ->
    #{Member := #{group := Group}} = Members,
    lists:foldl(
        fun(Message, Acc) -> add_to(given, {Group, place(Entry)}, Message, Acc) end,
        Story,
        Messages
    ).

%% The last slot that the member had of that partition, unless it has ended before.
lost(Member, Place, #{slots := Slots, ended := Ended} = Story) ->
    Had = [{Begun, Name} || {{M, _} = Name, {P, Begun, _}} <- maps:to_list(Slots), M =:= Member, P =:= Place],
    case lists:reverse(lists:sort(Had)) of
        [{_, Name} | _] when not is_map_key(Name, Ended) -> put_in(troubled, Name, true, Story);
        _ -> Story
    end.

name(#{member := Member, slot := Slot}) -> {Member, Slot}.

%% ---- what is asked of it ---------------------------------------------------------------

%% @doc All partitions of the run's topics.
-spec places(story()) -> [place()].
places(#{topics := Topics}) ->
    [
        {Topic, Partition}
     || {Topic, #{partitions := Count}} <- lists:sort(maps:to_list(Topics)),
        Partition <- lists:seq(0, Count - 1)
    ].

%% @doc A partition as a reader of that isolation finds it, by offset.
-spec log(place(), committed | uncommitted, story()) -> [{Offset :: integer(), message()}].
log(Place, Isolation, #{logs := Logs}) ->
    lists:append(lists:reverse(maps:get({Place, Isolation}, Logs, []))).

%% @doc When it was killed, or its node; `infinity' if it was not.
-spec killed(atom(), term(), story()) -> time() | infinity.
killed(Kind, Who, #{killed := Killed} = Story) ->
    min(maps:get({Kind, Who}, Killed, infinity), node_killed(node_of(Kind, Who, Story), Killed)).

node_killed(Node, Killed) -> maps:get({node, Node}, Killed, infinity).

node_of(process, Process, #{processes := Processes}) -> maps:get(Process, Processes, none);
node_of(client, Client, #{clients := Clients}) -> node_in(Client, Clients);
node_of(member, Member, #{members := Members}) -> node_in(Member, Members).

node_in(Name, All) -> maps:get(node, maps:get(Name, All, #{}), none).

%% @doc That a slot has ended without having committed all that it could. A member that
%% stops has so long for it, whether brokers answer or not.
-spec gone({Member :: term(), Slot :: term()}, story()) -> boolean().
gone({Member, _} = Slot, #{troubled := Troubled, stopped := Stopped} = Story) ->
    is_map_key(Member, Troubled) orelse is_map_key(Slot, Troubled) orelse
        has_failed_at_last(Slot, Story) orelse
        killed(member, Member, Story) =/= infinity orelse
        case Stopped of
            #{Slot := At} -> is_disturbed(At, At + ?STOP_TIMEOUT, Story);
            #{} -> false
        end.

%% Of a commit that fails in between, automatic ones make good.
has_failed_at_last({Member, _} = Slot, #{slots := Slots, failed := Failed}) ->
    case Slots of
        #{Slot := {Place, Begun, Notes}} ->
            Last = lists:max([Begun | [At || {At, _, _} <- Notes]]),
            lists:any(fun({Told, _}) -> Told >= Last end, maps:get({Member, Place}, Failed, []));
        #{} ->
            false
    end.

%% @doc Whether anything was disturbed at some time between these.
-spec is_disturbed(time(), time(), story()) -> boolean().
is_disturbed(From, To, Story) ->
    is_disturbed(From, To, fun(_) -> true end, Story).

%% @doc Whether a broker was.
-spec is_broker_away(time(), time(), story()) -> boolean().
is_broker_away(From, To, Story) ->
    is_disturbed(From, To, fun(Fault) -> is_tuple(Fault) andalso element(1, Fault) =:= brokers end, Story).

is_disturbed(From, To, Concerns, #{faults := Faults}) ->
    Over = maps:from_list([{Fault, At} || {At, off, Fault} <- Faults]),
    lists:any(
        fun({At, _, Fault}) ->
            Concerns(Fault) andalso At =< To andalso maps:get(Fault, Over, At) >= From
        end,
        [On || {_, on, _} = On <- Faults]
    ).

%% ---- fields ------------------------------------------------------------------------------

process(#{process := Process}) -> Process.

place(#{topic := Topic, partition := Partition}) -> {Topic, Partition}.

in_group(#{group := Group} = Entry) -> {Group, place(Entry)}.

mark(What, At, #{marks := Marks} = Story) -> Story#{marks := Marks#{What => At}}.

put_in(Part, Key, Value, Story) ->
    Story#{Part := (maps:get(Part, Story))#{Key => Value}}.

add_to(Part, Key, Value, Story) ->
    All = maps:get(Part, Story),
    Story#{Part := All#{Key => [Value | maps:get(Key, All, [])]}}.
