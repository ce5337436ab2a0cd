%% @doc A pool: several producers under one name, as a supervisor for a
%% supervision tree.
%%
%% ```
%% {ok, _} = crema_pool:start_link(#{
%%     name => orders, size => 3, bootstrap_servers => "localhost:9092"}),
%% {ok, #{offset := _}} = crema:produce(orders, #{topic => orders, value => "1"}).
%% '''
%% It is used wherever a producer is. A call goes to the member that the caller's
%% scheduler belongs to, or to the next while that one is being started again; no
%% process stands in between. {@link with/3} gives a member to one process alone.
%%
%% Its options are those of {@link crema_options}, scope `pool', and those of its
%% producers, scope `producer'. A `transactional.id' gets the member's number
%% behind, from `-1' on.
-module(crema_pool).
-behaviour(supervisor).

-export([start_link/1, child_spec/1, stop/1, stop/2]).
-export([with/2, with/3, checkout/1, checkout/2, checkin/2, stats/1]).
-export([info/1, status/1, on_member/3]).
-export([start_parsed/1, start_members/2, start_checkout/2, start_member/4, init/1]).

-type with_options() :: #{timeout => timeout()}.
-type stats() :: #{
    size := pos_integer(),
    available := non_neg_integer(),
    waiting := non_neg_integer(),
    checked_out := non_neg_integer()
}.

%% So often within so many seconds it starts its members all anew.
-define(RESTARTS, 3).
-define(PERIOD, 30).

%% ---- its life -----------------------------------------------------------------------

%% @doc Starts a pool and its producers. It does not wait for a broker: see
%% `crema:await_ready/2'.
-spec start_link(Options :: map() | list()) ->
    {ok, pid()} | {error, crema_error:reason() | {already_started, pid()}}.
start_link(Options) ->
    case crema_pool_options:parse(Options) of
        {ok, Parsed} -> start_parsed(fun() -> Parsed end);
        {error, _} = Error -> Error
    end.

%% @private Supervisors print what they start, but not what is in a function.
-spec start_parsed(fun(() -> crema_pool_options:parsed())) ->
    {ok, pid()} | {error, crema_error:reason() | {already_started, pid()}}.
start_parsed(Options) ->
    case crema_child:start_link(supervisor, ?MODULE, Options()) of
        {error, {shutdown, {failed_to_start_child, checkout, Reason}}} -> {error, Reason};
        Other -> Other
    end.

%% @doc A child specification. Its `shutdown' is infinity, as for supervisors: the
%% producers keep their own `flush_timeout', side by side.
-spec child_spec(Options :: map() | list()) -> supervisor:child_spec().
child_spec(Options) ->
    {Name, Start} =
        case crema_pool_options:parse(Options) of
            {ok, #{name := Registered} = Parsed} ->
                {Registered, {?MODULE, start_parsed, [fun() -> Parsed end]}};
            {error, _} ->
                {undefined, {?MODULE, start_link, [crema_secret:hide(Options)]}}
        end,
    #{
        id => crema_child:child_id(?MODULE, Name),
        start => Start,
        type => supervisor,
        restart => transient,
        shutdown => infinity
    }.

%% @doc Stops a pool: its producers flush up to their `flush_timeout', side by
%% side. Safe from any process, and when it has stopped already. Called by one of
%% its own processes (in an event handler), it returns at once, and the stop follows.
-spec stop(crema_types:client()) -> ok.
stop(Pool) ->
    stop(Pool, default).

%% @doc The same with another deadline, in milliseconds.
-spec stop(crema_types:client(), default | timeout()) -> ok.
stop(Pool, Timeout) ->
    Timeout =:= default orelse crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    case crema_registry:pool(Pool) of
        {ok, Pid, Checkout, Members} ->
            Pids = [Member || Member <- tuple_to_list(Members), is_pid(Member)],
            lists:foreach(fun(Member) -> gen_server:cast(Member, {stop, Timeout}) end, Pids),
            case crema_child:works_for_one([Checkout | Pids]) of
                true ->
                    _ = spawn(fun() -> end_supervisor(Pid) end),
                    ok;
                false ->
                    end_supervisor(Pid)
            end;
        none ->
            ok
    end.

-spec end_supervisor(pid()) -> ok.
end_supervisor(Pid) ->
    true = unlink(Pid),
    try
        gen_server:stop(Pid, shutdown, infinity)
    catch
        %% It has ended.
        exit:_ -> ok
    end.

%% ---- members for one process alone ------------------------------------------------

%% @doc Runs a function with a member that nobody else gets meanwhile.
-spec with(crema_types:client(), fun((Member :: crema:producer()) -> Result)) ->
    {ok, Result} | crema_error:error().
with(Pool, Fun) ->
    with(Pool, Fun, #{}).

%% @doc The same with options. `timeout' (ms, `checkout_timeout' of the pool by
%% default): how long to wait for a member; then `pool_timeout'. Who has one
%% already, by a call around this one, gets the same. The member is given back
%% when the function ends, however it does, and when its process dies.
-spec with(crema_types:client(), fun((Member :: crema:producer()) -> Result), with_options()) ->
    {ok, Result} | crema_error:error().
with(Pool, Fun, Options) when is_function(Fun, 1) ->
    Key = {?MODULE, crema_registry:whereis_name(Pool)},
    case {crema_call:fault_of("crema_pool:with/3", Options, fun is_option/2), get(Key)} of
        {none, undefined} -> with_new(Key, Pool, Fun, Options);
        {none, Member} -> {ok, Fun(crema_target:member(Pool, Member))};
        {Error, _} -> Error
    end.

-spec is_option(term(), term()) -> boolean().
is_option(timeout, Timeout) -> crema_call:is_timeout(Timeout);
is_option(_, _) -> false.

-spec with_new(term(), crema_types:client(), fun((crema:producer()) -> Result), with_options()) ->
    {ok, Result} | crema_error:error().
with_new(Key, Pool, Fun, Options) ->
    case checkout(Pool, maps:get(timeout, Options, default)) of
        {ok, Member} ->
            _ = put(Key, Member),
            try
                {ok, Fun(crema_target:member(Pool, Member))}
            after
                _ = erase(Key),
                _ = checkin(Pool, Member)
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc A member for the calling process, which gives it back by {@link checkin/2}
%% or by its death. {@link with/3} is safer.
-spec checkout(crema_types:client()) -> {ok, Member :: pid()} | crema_error:error().
checkout(Pool) ->
    checkout(Pool, default).

%% @doc The same with a deadline (ms). Who waits is served in the order of arrival.
-spec checkout(crema_types:client(), default | timeout()) ->
    {ok, Member :: pid()} | crema_error:error().
checkout(Pool, Timeout) ->
    Timeout =:= default orelse crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    call(Pool, {checkout, Timeout}).

%% @doc Gives back a member. Only the process that has it may.
-spec checkin(crema_types:client(), Member :: pid()) -> ok | crema_error:error().
checkin(Pool, Member) ->
    call(Pool, {checkin, Member}).

%% @doc How many members there are, how many nobody has, how many somebody has, and
%% how many processes wait for one.
-spec stats(crema_types:client()) -> stats() | crema_error:error().
stats(Pool) ->
    call(Pool, stats).

-spec call(crema_types:client(), term()) -> term().
call(Pool, Request) ->
    case crema_registry:pool(Pool) of
        {ok, _, Checkout, _} ->
            try
                gen_server:call(Checkout, Request, infinity)
            catch
                exit:_ -> crema_registry:missing(pool, Pool)
            end;
        none ->
            crema_registry:missing(pool, Pool)
    end.

%% ---- for the facade -------------------------------------------------------------------

%% @private Runs a function with a member of a pool, or with what is no pool. With
%% it go the options; the wait for a member comes off their `timeout'.
-spec on_member(crema:producer(), Options, fun((crema:producer(), Options) -> Result)) ->
    Result | crema_error:error()
when
    Options :: map().
on_member(Target, Options, Fun) ->
    case crema_registry:pool(Target) of
        {ok, _, _, _} ->
            Since = crema_deadline:now(),
            Run = fun(Member) -> Fun(Member, later(Options, Since)) end,
            Own = is_map(Options) andalso maps:with([timeout], Options),
            case with(Target, Run, Own) of
                {ok, Result} -> Result;
                {error, _} = Error -> Error
            end;
        none ->
            Fun(Target, Options)
    end.

-spec later(map(), Since :: integer()) -> map().
later(#{timeout := Timeout} = Options, Since) ->
    Options#{timeout := crema_call:less(Timeout, crema_deadline:now() - Since)};
later(Options, _Since) ->
    Options.

%% @private See `crema:info/1': what its members count, together.
-spec info(crema_types:client()) -> map().
info(Pool) ->
    case crema_registry:pool(Pool) of
        {ok, _, _, Members} ->
            Counts = [crema_client:counts(Port) || Port <- ports(tuple_to_list(Members))],
            lists:foldl(fun sum/2, status(Pool), Counts);
        none ->
            #{}
    end.

-spec ports([pid() | none]) -> [port() | none].
ports(Members) ->
    [Port || Pid <- Members, {ok, _, Port, _, _} <- [crema_registry:lookup(Pid)]].

-spec sum(map(), map()) -> map().
sum(Counts, Sums) ->
    maps:merge_with(fun(_, A, B) -> A + B end, Counts, Sums).

%% @private See `crema:status/1': of each member by its number.
-spec status(crema_types:client()) -> map().
status(Pool) ->
    case crema_registry:pool(Pool) of
        {ok, _, _, Members} ->
            Each = [
                case crema_registry:status(Pid) of
                    {ok, Status} -> Status;
                    not_started -> not_running()
                end
             || Pid <- tuple_to_list(Members)
            ],
            #{
                kind => pool,
                connected => lists:any(fun(#{connected := Connected}) -> Connected end, Each),
                members => Each
            };
        none ->
            not_running()
    end.

-spec not_running() -> map().
not_running() ->
    #{connected => false, running => false}.

%% ---- supervision ----------------------------------------------------------------------

%% @private
-spec init(crema_pool_options:parsed() | {members, pid(), fun(() -> map())}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({members, Pool, Options}) ->
    #{size := Size, producer := Producer} = Options(),
    Flush = lists:max([maps:get(flush_timeout, Producer(Index)) || Index <- lists:seq(1, Size)]),
    Member = #{
        id => member,
        start => {?MODULE, start_member, [Pool, Options]},
        restart => transient,
        shutdown => crema_child:shutdown(Flush)
    },
    {ok, {#{strategy => simple_one_for_one, intensity => max(3, Size), period => 30}, [Member]}};
init(Options) ->
    Hidden = fun() -> Options end,
    Members = #{
        id => members, start => {?MODULE, start_members, [self(), Hidden]}, type => supervisor
    },
    Checkout = #{id => checkout, start => {?MODULE, start_checkout, [self(), Hidden]}},
    Flags = #{strategy => one_for_all, intensity => ?RESTARTS + 1, period => ?PERIOD},
    {ok, {Flags, [Members, Checkout]}}.

%% @private Called in the pool's supervisor, which remembers it for what is started
%% next: who asked a supervisor that is starting would wait for ever.
-spec start_members(pid(), fun(() -> map())) -> supervisor:startlink_ret().
start_members(Pool, Options) ->
    ok = crema_child:restarts(?RESTARTS, ?PERIOD),
    {ok, Members} = supervisor:start_link(?MODULE, {members, Pool, Options}),
    _ = put({?MODULE, members}, Members),
    {ok, Members}.

%% @private
-spec start_checkout(pid(), fun(() -> map())) -> gen_server:start_ret().
start_checkout(Pool, Options) ->
    crema_checkout:start_link(Pool, get({?MODULE, members}), Options).

%% @private Called in the supervisor of the members, also after a crash of one.
-spec start_member(pid(), fun(() -> map()), Checkout :: pid(), Index :: pos_integer()) ->
    {ok, pid()} | {error, term()}.
start_member(Pool, Options, Checkout, Index) ->
    #{producer := Producer} = Options(),
    Given = crema_settings:given(Producer(Index)),
    case crema_producer:start_link(crema_credentials:of_pool(Pool, Given)) of
        {ok, Member} = Started ->
            ok = crema_registry:set_member(Pool, Index, Member),
            Checkout ! {member, Index, Member},
            Started;
        {error, _} = Error ->
            Error
    end.
