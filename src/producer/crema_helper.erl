%% @private The processes that work for a producer: its buffer, those of topic
%% handles. The producer starts each when it is first asked for, is linked to it,
%% lets it finish when it stops, and outlives its crash.
-module(crema_helper).

-export([new/1, start/2, ended/3, are_none/1, drain/2]).
-export([link_to/1]).
-export([call/5, find/2]).

-export_type([helpers/0, key/0, start/0]).

-type key() :: buffer | reference().
%% What a helper's start/1 gets; the options are the producer's.
-type start() :: #{producer := pid(), options := map(), args := term()}.

-record(helpers, {
    options :: map(),
    running = #{} :: #{pid() => {key(), module()}}
}).
-opaque helpers() :: #helpers{}.

-define(OPTIONS, [
    name, on_full, full_timeout, max_queue_messages, max_queue_bytes, max_unclaimed,
    buffer_messages, buffer_bytes, buffer_age, buffer_report
]).

%% Starts it: a gen_server that calls {@link link_to/1} first, and ends by itself
%% when the producer has.
-callback start(start()) -> {ok, pid()} | {error, term()}.
%% Called in the producer when the helper has ended of something else.
-callback crashed(Producer :: pid(), Name :: term(), Reason :: term()) -> ok.

%% ---- in the producer -----------------------------------------------------------

-spec new(Options :: map()) -> helpers().
new(Options) ->
    #helpers{options = maps:with(?OPTIONS, Options)}.

%% @doc The helper of that key, which may have been started meanwhile.
-spec start({key(), module(), Args :: term()}, helpers()) ->
    {{ok, pid()} | {error, term()}, helpers()}.
start({Key, Module, Args}, #helpers{options = Options, running = Running} = Helpers) ->
    case find(self(), Key) of
        Pid when is_map_key(Pid, Running) ->
            case is_process_alive(Pid) of
                true ->
                    {{ok, Pid}, Helpers};
                false ->
                    %% It has just ended, and is linked.
                    receive
                        {'EXIT', Pid, Reason} ->
                            {ok, Without} = ended(Pid, Reason, Helpers),
                            start({Key, Module, Args}, Without)
                    end
            end;
        _ ->
            case Module:start(#{producer => self(), options => Options, args => Args}) of
                {ok, Pid} = Started ->
                    ok = crema_registry:note(self(), Key, Pid),
                    {Started, Helpers#helpers{running = Running#{Pid => {Key, Module}}}};
                {error, _} = Error ->
                    {Error, Helpers}
            end
    end.

%% @doc Whether the process that has ended was a helper. Its crash is told; the
%% next who needs it starts it again.
-spec ended(pid(), Reason :: term(), helpers()) -> {ok, helpers()} | unknown.
ended(Pid, Reason, #helpers{options = Options, running = Running} = Helpers) ->
    case maps:take(Pid, Running) of
        {{Key, Module}, Rest} ->
            ok = crema_registry:forget(self(), Key),
            _ = Reason =/= normal andalso
                Module:crashed(self(), crema_child:shown_name(maps:get(name, Options)), Reason),
            {ok, Helpers#helpers{running = Rest}};
        error ->
            unknown
    end.

-spec are_none(helpers()) -> boolean().
are_none(#helpers{running = Running}) ->
    map_size(Running) =:= 0.

%% @doc Before the producer flushes: lets every helper hand over what it holds.
%% What it cannot by the deadline it tells of itself.
-spec drain(crema_deadline:deadline(), helpers()) -> ok.
drain(Deadline, #helpers{running = Running}) ->
    Requests = [gen_server:send_request(Pid, drain) || Pid <- maps:keys(Running)],
    lists:foreach(
        fun(Request) -> gen_server:receive_response(Request, crema_deadline:left(Deadline)) end,
        Requests
    ).

%% ---- in a helper ---------------------------------------------------------------

%% @doc The end of the producer is a message. Not so by gen_server:start_link/3,
%% which ends a process with its parent.
-spec link_to(pid()) -> ok.
link_to(Producer) ->
    process_flag(trap_exit, true),
    true = link(Producer),
    crema_child:works_for(Producer).

%% ---- in callers ----------------------------------------------------------------

%% @doc Asks a helper, which is started if need be. Helpers never wait for
%% anything themselves; they answer when they choose, or end.
-spec call(crema_target:target(), key(), module(), Args :: term(), Request :: term()) ->
    term() | crema_error:error().
call(Target, Key, Module, Args, Request) ->
    case ask(ensure(Target, Key, Module, Args), Target, Request) of
        ended ->
            Producer = crema_target:home(Target, Key),
            case ask(crema_producer:helper(Producer, {Key, Module, Args}), Target, Request) of
                ended -> crema_registry:missing(producer, Target);
                Answer -> Answer
            end;
        Answer ->
            Answer
    end.

%% `ended': it has before it took the request.
-spec ask({ok, pid()} | crema_error:error(), crema_target:target(), term()) -> term() | ended.
ask({ok, Pid}, Target, Request) ->
    try
        gen_server:call(Pid, Request, infinity)
    catch
        exit:{Reason, _} when Reason =:= noproc; Reason =:= normal -> ended;
        exit:_ -> crema_registry:missing(producer, Target)
    end;
ask({error, _} = Error, _Target, _Request) ->
    Error.

-spec ensure(crema_target:target(), key(), module(), Args :: term()) ->
    {ok, pid()} | crema_error:error().
ensure(Target, Key, Module, Args) ->
    Producer = crema_target:home(Target, Key),
    case is_pid(Producer) andalso crema_registry:noted(Producer, Key, none) of
        false -> crema_registry:missing(producer, Target);
        none -> crema_producer:helper(Producer, {Key, Module, Args});
        Pid -> {ok, Pid}
    end.

-spec find(crema_target:target(), key()) -> pid() | undefined.
find(Target, Key) ->
    crema_registry:noted(crema_target:home(Target, Key), Key, undefined).
