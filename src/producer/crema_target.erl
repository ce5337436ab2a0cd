%% @private What a caller may produce to, and the client behind it.
%%
%% A process remembers the clients it uses, by what it calls them: the table
%% costs a quarter of a whole call. Neither pids nor ports are used again, so what
%% is remembered can only be closed; then it is forgotten, and looked up again.
%% Of a pool its members are remembered, of which each call takes one.
-module(crema_target).

-export([client/1, find/1, is_known/1, again/4, each/2, member/2, home/2, at/2]).

-export_type([target/0, client/0, settings/0]).

%% So many at a time, at most; then they are looked up anew.
-define(REMEMBERED, 200).

-type target() ::
    crema_registry:ref()
    | crema_variant:variant()
    | crema_topic:handle()
    | crema_transaction:handle().
-type settings() :: #{
    on_full := wait | error,
    full_timeout := timeout(),
    timeout := timeout(),
    %% what crema_prepare:settings() says
    prepare := boolean(),
    prefix := crema_prefix:prefix(),
    max_payload_size := pos_integer(),
    partitioner := crema_partitioner:in_force(),
    topic_partitioners := #{binary() => crema_partitioner:strategy()},
    middleware := undefined | {pid(), [crema_middleware:middleware()]},
    %% of a producer with a transactional.id, outside any transaction
    transactions => pid(),
    %% of events; absent where there is no client
    metadata => crema_producer_events:metadata(),
    %% absent unless each call is to tell of itself
    call_events => true,
    %% of the client; absent where there is none
    intake => crema_intake:intake(),
    %% not there without a producer
    callbacks => crema_callbacks:callbacks()
}.
%% The port, what its calls carry, and what the producer's options say of calls.
-type client() :: {crema_port:client() | none, crema_packet:via(), settings()}.

%% @doc The client to command. One that is not there has no port: a command is
%% answered as by one that was closed, and {@link again/4} finds the next.
-spec client(target()) -> client().
client({crema_topic, _, _} = Handle) ->
    client(crema_topic:producer(Handle));
client({crema_transaction, _, _, _, Client}) ->
    Client;
client({crema_variant, {crema_transaction, _, _, _, _}, _, _, _} = Variant) ->
    case find(Variant) of
        {ok, Client} -> Client;
        {error, _} -> no_client()
    end;
client(Target) ->
    Pid = process(Target),
    case get(?MODULE) of
        {Target, Pid, Client} -> Client;
        _ -> remembered(Target, Pid)
    end.

%% The process that is called by that name now: of a variant and the like, the
%% producer's.
-spec process(target()) -> pid() | undefined.
process({crema_variant, _, _, _, _} = Variant) -> process(crema_variant:producer(Variant));
process({crema_topic, _, _} = Handle) -> process(crema_topic:producer(Handle));
process({crema_transaction, _, _, _, {Port, _, _}}) -> crema_port:owner(Port);
process(Producer) -> crema_registry:whereis_name(Producer).

%% @doc The producer beside which what works for a target stands, by that key:
%% always the same one of a pool's.
-spec home(target(), crema_helper:key()) -> pid() | none.
home(Target, Key) ->
    Pid = process(Target),
    case is_pid(Pid) andalso crema_registry:pool(Pid) of
        {ok, _, _, Members} -> element(1 + erlang:phash2(Key, tuple_size(Members)), Members);
        none -> Pid;
        false -> none
    end.

%% @doc A target whose home is that producer, as one that no other producer serves.
-spec at(target(), pid()) -> target().
at(Target, Home) ->
    case process(Target) of
        Home -> Target;
        _ -> member(Target, Home)
    end.

%% The one used last has a key of its own, which is found faster.
-spec remembered(target(), pid() | undefined) -> client().
remembered(Target, Pid) ->
    case get({?MODULE, Target}) of
        {Target, Pid, {pool, Members}} ->
            of_pool(Members);
        {Target, Pid, Client} = Known ->
            _ = put(?MODULE, Known),
            Client;
        _ ->
            first(Target, Pid, look_up(Target, Pid))
    end.

-spec first(
    target(), pid() | undefined, {ok, client()} | {pool, tuple()} | crema_error:error()
) -> client().
first(Target, Pid, {pool, Members} = Pool) ->
    ok = remember({Target, Pid, Pool}),
    of_pool(Members);
first(_Target, _Pid, {ok, {none, _, _} = Client}) ->
    Client;
first(Target, Pid, {ok, Client}) ->
    ok = remember({Target, Pid, Client}),
    Client;
first(_Target, _Pid, {error, _}) ->
    no_client().

%% What has ended would be remembered as long as the process lives.
-spec remember({target(), pid() | undefined, client() | {pool, tuple()}}) -> ok.
remember({Target, _, _} = Known) ->
    Others = lists:delete(Target, targets()),
    Kept =
        case length(Others) < ?REMEMBERED of
            true ->
                Others;
            false ->
                lists:foreach(fun forget/1, Others),
                []
        end,
    _ = put({?MODULE}, [Target | Kept]),
    _ = put({?MODULE, Target}, Known),
    ok.

-spec targets() -> [target()].
targets() ->
    case get({?MODULE}) of
        undefined -> [];
        Targets -> Targets
    end.

%% @doc The client, or why there is none; a pool's that is nearest.
-spec find(target()) -> {ok, client()} | crema_error:error().
find({crema_topic, _, _} = Handle) ->
    find(crema_topic:producer(Handle));
find({crema_transaction, _, _, _, Client}) ->
    {ok, Client};
find({crema_variant, {crema_transaction, Pid, _, _, Client}, _, _, shared} = Variant) ->
    crema_variant:client(Variant, Pid, Client);
find({crema_variant, {crema_transaction, _, _, _, _}, _, _, own}) ->
    crema_error:make(bad_options, "a transaction has but one client", #{});
find(Target) ->
    case look_up(Target, process(Target)) of
        {pool, Members} -> find(pick(Members));
        Found -> Found
    end.

-spec look_up(target(), pid() | undefined) ->
    {ok, client()} | {pool, tuple()} | crema_error:error().
look_up(Target, Pid) ->
    case is_pid(Pid) andalso crema_registry:lookup(Pid) of
        {ok, producer, Port, Settings, _} ->
            varied(Target, Pid, {Port, <<>>, Settings});
        not_started ->
            case members(Target, Pid) of
                [] -> crema_registry:missing(producer, Target);
                Members -> {pool, list_to_tuple(Members)}
            end;
        _ ->
            crema_registry:missing(producer, Target)
    end.

-spec varied(target(), pid(), client()) -> {ok, client()} | crema_error:error().
varied({crema_variant, _, _, _, _} = Variant, Pid, Client) ->
    crema_variant:client(Variant, Pid, Client);
varied(_Producer, _Pid, Client) ->
    {ok, Client}.

-spec no_client() -> client().
no_client() ->
    {none, <<>>, #{
        on_full => error,
        full_timeout => 0,
        timeout => 0,
        prepare => false,
        prefix => undefined,
        max_payload_size => 1 bsl 31,
        partitioner => {librdkafka, consistent_random},
        topic_partitioners => #{},
        middleware => undefined
    }}.

%% @doc Whether it is a producer's at all, whose settings hold.
-spec is_known(client()) -> boolean().
is_known({_, _, Settings}) -> is_map_key(metadata, Settings).

%% @doc The client to go on with when one was closed before it took the call: the
%% next, made if need be, and waited for so long. `none' when there is nothing to
%% be done for that purpose without one.
-spec again(target(), client(), crema_producer:purpose(), timeout()) ->
    {ok, client()} | none | crema_error:error().
again({crema_topic, _, _} = Handle, Client, Purpose, Timeout) ->
    again(crema_topic:producer(Handle), Client, Purpose, Timeout);
again({crema_transaction, _, _, _, _}, _Client, _Purpose, _Timeout) ->
    crema_transaction_error:stale();
again({crema_variant, {crema_transaction, _, _, _, _}, _, _, _}, _Client, _Purpose, _Timeout) ->
    crema_transaction_error:stale();
again(Target, {Closed, _, _} = Client, Purpose, Timeout) ->
    ok = forget(Target),
    case look_up(Target, process(Target)) of
        {ok, {Port, _, _}} = Next when Port =/= none, Port =/= Closed ->
            Next;
        {pool, Members} ->
            again_in(Target, by_distance(Members), Client, Purpose, Timeout);
        {error, {Code, _}} = Error when Code =/= closed ->
            Error;
        _ ->
            made(Target, Closed, crema_producer:client(Target, Purpose, Timeout))
    end.

%% A member that has ended since it was chosen is no answer as long as others take
%% calls; where none does, the nearest says why.
-spec again_in(target(), [target()], client(), crema_producer:purpose(), timeout()) ->
    {ok, client()} | none | crema_error:error().
again_in(Pool, [Nearest | _] = Members, {Closed, _, _} = Client, Purpose, Timeout) ->
    Deadline = crema_deadline:in(Timeout),
    case taking(Members, Closed) of
        [] ->
            again(Nearest, Client, Purpose, Timeout);
        [Member | _] ->
            case again(Member, Client, Purpose, Timeout) of
                {error, {closed, _}} ->
                    again(Pool, Client, Purpose, crema_deadline:left(Deadline));
                Answer ->
                    Answer
            end
    end.

-spec made(target(), crema_port:client() | none, {ok, crema_port:client()} | none | crema_error:error()) ->
    {ok, client()} | none | crema_error:error().
made(Target, Closed, {ok, _}) ->
    case find(Target) of
        {ok, {Closed, _, _}} when Closed =/= none -> crema_registry:missing(producer, Target);
        Next -> Next
    end;
made(_Target, _Closed, Other) ->
    Other.

-spec forget(target()) -> ok.
forget(Target) ->
    _ = erase(?MODULE),
    _ = erase({?MODULE, Target}),
    ok.

%% ---- pools ----------------------------------------------------------------------------

%% @doc Does something with a producer, or with each of a pool's, and tells the
%% first error.
-spec each(target(), fun((target()) -> ok | crema_error:error())) -> ok | crema_error:error().
each(Target, Fun) ->
    case members(Target, process(Target)) of
        [] ->
            Fun(Target);
        Members ->
            Results = [Fun(Member) || Member <- Members],
            hd([Error || {error, _} = Error <- Results] ++ [ok])
    end.

%% @doc A member of a pool, as the pool or a variant of it uses it.
-spec member(target(), pid()) -> target().
member({crema_variant, _, _, _, _} = Variant, Member) -> crema_variant:with_producer(Variant, Member);
member({crema_topic, Inner, Topic}, Member) -> {crema_topic, member(Inner, Member), Topic};
member({crema_transaction, _, _, _, _} = Transaction, _Member) -> Transaction;
member(_Pool, Member) -> Member.

%% Those of a pool that run; none when it is no pool.
-spec members(target(), pid() | undefined) -> [target()].
members(Target, Pid) ->
    case is_pid(Pid) andalso crema_registry:pool(Pid) of
        {ok, _, _, Members} -> [
            member(Target, Member)
         || Member <- tuple_to_list(Members), is_pid(Member)
        ];
        _ -> []
    end.

%% By scheduler: callers of one share a member, and those of others do not meet
%% them at its lock.
-spec pick(tuple()) -> target().
pick(Members) ->
    element(1 + erlang:system_info(scheduler_id) rem tuple_size(Members), Members).

-spec of_pool(tuple()) -> client().
of_pool(Members) ->
    Nearest = client(pick(Members)),
    case is_known(Nearest) of
        true -> Nearest;
        false ->
            Order = by_distance(Members),
            client(hd(taking(Order, none) ++ Order))
    end.

%% All of them, the nearest first.
-spec by_distance(tuple()) -> [target()].
by_distance(Members) ->
    Nearest = pick(Members),
    {Before, From} = lists:splitwith(
        fun(Member) -> Member =/= Nearest end, tuple_to_list(Members)
    ),
    From ++ Before.

-spec taking([target()], crema_port:client() | none) -> [target()].
taking(Members, Closed) ->
    [Member || Member <- Members, takes_calls(Member, Closed)].

-spec takes_calls(target(), crema_port:client() | none) -> boolean().
takes_calls(Member, Closed) ->
    ok = forget(Member),
    case find(Member) of
        {ok, {none, _, _}} ->
            case crema_registry:status(Member) of
                {ok, #{state := State}} -> State =:= idle orelse State =:= disconnected;
                _ -> false
            end;
        {ok, {Closed, _, _}} ->
            false;
        {ok, {Port, _, _}} ->
            crema_port:is_open(Port);
        {error, _} ->
            false
    end.
