%% @private What a caller may produce to, and the client behind it.
%%
%% A process remembers the clients it uses, by what it calls them: the table
%% costs a quarter of a whole call. Neither pids nor ports are used again, so what
%% is remembered can only be closed; then it is forgotten, and looked up again.
-module(crema_target).

-export([client/1, find/1, again/4]).

-export_type([target/0, client/0, settings/0]).

-type target() :: crema_registry:ref() | crema_variant:variant() | crema_transaction:handle().
-type settings() :: #{
    on_full := wait | error,
    full_timeout := timeout(),
    timeout := timeout(),
    %% what crema_prepare:settings() says
    prepare := boolean(),
    max_payload_size := pos_integer(),
    partitioner := crema_partitioner:in_force(),
    topic_partitioners := #{binary() => crema_partitioner:strategy()},
    middleware := undefined | {pid(), [crema_middleware:middleware()]},
    %% of a producer with a transactional.id, outside any transaction
    transactions => pid(),
    %% of events; absent where there is no client
    metadata => crema_producer_events:metadata(),
    %% absent unless each call is to tell of itself
    call_events => true
}.
%% The port, what its calls carry, and what the producer's options say of calls.
-type client() :: {port() | none, crema_packet:via(), settings()}.

%% @doc The client to command. One that is not there has no port: a command is
%% answered as by one that was closed, and {@link again/4} finds the next.
-spec client(target()) -> client().
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

%% The process that is called by that name now: of a variant, the producer's.
-spec process(target()) -> pid() | undefined.
process({crema_variant, _, _, _, _} = Variant) ->
    crema_registry:whereis_name(crema_variant:producer(Variant));
process(Producer) ->
    crema_registry:whereis_name(Producer).

%% The one used last has a key of its own, which is found faster.
-spec remembered(target(), pid() | undefined) -> client().
remembered(Target, Pid) ->
    case get({?MODULE, Target}) of
        {Target, Pid, Client} = Known ->
            _ = put(?MODULE, Known),
            Client;
        _ ->
            case look_up(Target, Pid) of
                {ok, {none, _, _} = Client} ->
                    Client;
                {ok, Client} ->
                    _ = put({?MODULE, Target}, {Target, Pid, Client}),
                    Client;
                {error, _} ->
                    no_client()
            end
    end.

%% @doc The client, or why there is none.
-spec find(target()) -> {ok, client()} | crema_error:error().
find({crema_transaction, _, _, _, Client}) ->
    {ok, Client};
find({crema_variant, {crema_transaction, Pid, _, _, Client}, _, _, shared} = Variant) ->
    crema_variant:client(Variant, Pid, Client);
find({crema_variant, {crema_transaction, _, _, _, _}, _, _, own}) ->
    crema_error:make(bad_options, "a transaction has but one client", #{});
find(Target) ->
    look_up(Target, process(Target)).

-spec look_up(target(), pid() | undefined) -> {ok, client()} | crema_error:error().
look_up(Target, Pid) ->
    case is_pid(Pid) andalso crema_registry:lookup(Pid) of
        {ok, producer, Port, Settings, _} -> varied(Target, Pid, {Port, <<>>, Settings});
        _ -> crema_registry:missing(producer, Target)
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
        max_payload_size => 1 bsl 31,
        partitioner => {librdkafka, consistent_random},
        topic_partitioners => #{},
        middleware => undefined
    }}.

%% @doc The client to go on with when one was closed before it took the call: the
%% next, made if need be, and waited for so long. `none' when there is nothing to
%% be done for that purpose without one.
-spec again(target(), client(), crema_producer:purpose(), timeout()) ->
    {ok, client()} | none | crema_error:error().
again({crema_transaction, _, _, _, _}, _Client, _Purpose, _Timeout) ->
    crema_transaction_error:stale();
again({crema_variant, {crema_transaction, _, _, _, _}, _, _, _}, _Client, _Purpose, _Timeout) ->
    crema_transaction_error:stale();
again(Target, {Closed, _, _}, Purpose, Timeout) ->
    _ = erase(?MODULE),
    _ = erase({?MODULE, Target}),
    case find(Target) of
        {ok, {Port, _, _}} = Next when Port =/= none, Port =/= Closed ->
            Next;
        {ok, _} ->
            made(Target, Closed, crema_producer:client(Target, Purpose, Timeout));
        {error, {closed, _}} ->
            made(Target, Closed, crema_producer:client(Target, Purpose, Timeout));
        {error, _} = Error ->
            Error
    end.

-spec made(target(), port() | none, {ok, port()} | none | crema_error:error()) ->
    {ok, client()} | none | crema_error:error().
made(Target, Closed, {ok, _}) ->
    case find(Target) of
        {ok, {Closed, _, _}} when Closed =/= none -> crema_registry:missing(producer, Target);
        Next -> Next
    end;
made(_Target, _Closed, Other) ->
    Other.
