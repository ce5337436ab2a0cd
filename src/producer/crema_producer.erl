%% @doc A producer: a process for a supervision tree that owns one client.
%%
%% ```
%% {ok, P} = crema_producer:start_link(#{
%%     name => orders, bootstrap_servers => "localhost:9092"}),
%% {ok, #{offset := _}} = crema:produce(orders, #{topic => orders, value => "1"}).
%% '''
%% The process only looks after the client's life: produce calls do not pass
%% through it, but for one that finds no client and asks for it. Its options are
%% those of {@link crema_options}, scope `producer'.
-module(crema_producer).

-export([start_link/1, child_spec/1, stop/1, stop/2, disconnect/1, middleware/2]).
-export([start_own/1, open/1, settings/2, client/3, own_client/3, helper/2, not_connected/0]).

-export_type([purpose/0]).

-type purpose() :: produce | produce_now | flush | purge.
%% What a caller wants a client for: `produce' waits for one that is being made
%% anew, `produce_now' does not; `flush' and `purge' need none where there is none.

%% @doc Starts a producer. It does not wait for a broker: see
%% `crema:await_ready/2'. Wrong options are all named in the error.
-spec start_link(Options :: map() | list()) ->
    {ok, pid()} | {error, crema_error:reason() | {already_started, pid()}}.
start_link(Options) ->
    case crema_settings:parse(producer, Options) of
        {ok, Parsed} -> crema_child:start_link(gen_server, crema_producer_server, Parsed);
        {error, _} = Error -> Error
    end.

%% @private Starts one that crema has for itself: its options are all there are.
-spec start_own(Options :: map()) -> {ok, pid()} | {error, crema_error:reason()}.
start_own(Options) ->
    case crema_options:parse(producer, Options) of
        {ok, Parsed} -> crema_child:start_link(gen_server, crema_producer_server, Parsed);
        {error, _} = Error -> Error
    end.

%% @doc A child specification. Its `shutdown' is the flush deadline and a margin,
%% and secrets among the options are wrapped so that no report shows them.
-spec child_spec(Options :: map() | list()) -> supervisor:child_spec().
child_spec(Options) ->
    crema_child:spec(producer, ?MODULE, worker, Options, fun(#{flush_timeout := Timeout}) ->
        crema_child:shutdown(Timeout)
    end).

%% @doc Stops a producer: flushes up to its `flush_timeout', then purges, so
%% that every message is reported. Safe from any process, and when it has
%% stopped already. Called by the producer's own process (in an event handler),
%% it returns at once, and the stop follows. An open transaction is aborted, but
%% not that of the calling process: it gets `in_transaction'.
-spec stop(crema_types:client()) -> ok | crema_error:error().
stop(Producer) ->
    crema_transaction:outside(Producer, fun() -> crema_child:stop(Producer, default) end).

%% @doc The same with another deadline, in milliseconds. At the deadline it
%% returns; what is then left is finished in the background. With 0 it purges at
%% once, also when it is stopping already and still flushes.
-spec stop(crema_types:client(), Timeout :: timeout()) -> ok | crema_error:error().
stop(Producer, Timeout) ->
    crema_transaction:outside(Producer, fun() ->
        ok = hurry(Producer, Timeout),
        crema_child:stop(Producer, Timeout)
    end).

-spec hurry(crema_types:client(), timeout()) -> ok.
hurry(Producer, 0) ->
    case {crema_registry:status(Producer), crema_registry:lookup(Producer)} of
        {{ok, #{state := stopping}}, {ok, producer, Port, _, _}} when Port =/= none ->
            crema_port:kill(Port);
        _ ->
            ok
    end;
hurry(_Producer, _Timeout) ->
    ok.

%% @doc See {@link crema:disconnect/1}.
-spec disconnect(crema_types:client()) -> ok | crema_error:error().
disconnect(Producer) ->
    call(Producer, disconnect, infinity).

%% @doc Changes the chain of middleware at run time: calls that begin after it has
%% returned are made with the new one. `not_found' when there is none to remove;
%% `bad_options' for what is no middleware, and for a producer without the option
%% `middleware': its calls do not look for any. `middleware => []' will do.
-spec middleware(crema_types:client(), crema_middleware:change()) -> ok | crema_error:error().
middleware(Producer, Change) ->
    call(Producer, {middleware, Change}, infinity).

%% @private Opens a client for a producer with these parsed options.
-spec open(map()) -> {ok, port() | pid(), binary()} | crema_error:error().
open(Options) ->
    Properties = crema_properties:kafka_properties(producer, Options),
    Limits = [
        {<<"max_messages">>, maps:get(max_queue_messages, Options)},
        {<<"max_bytes">>, maps:get(max_queue_bytes, Options)},
        {<<"max_unclaimed">>, maps:get(max_unclaimed, Options)}
        | crema_producer_events:limits(Options)
    ],
    Opened =
        case Options of
            #{record := false} -> crema_client:open(producer, Properties, Limits);
            #{} -> crema_recorder:start(Options, Properties, Limits)
        end,
    crema_settings:named(Opened, Options).

%% @private What its calls must know.
-spec settings(crema_client:client(), map()) -> crema_target:settings().
settings(Client, Options) ->
    Calls = #{
        on_full => maps:get(on_full, Options),
        full_timeout => maps:get(full_timeout, Options),
        timeout => maps:get(request_timeout, Options)
    },
    Events = crema_producer_events:settings(crema_client:metadata(Client), Options),
    lists:foldl(fun maps:merge/2, Calls, [Events, crema_prepare:settings(Options)]).

%% @private The client of a producer that had none, made if need be. `none':
%% there is none, nor anything to do with it.
-spec client(crema_types:client(), purpose(), timeout()) ->
    {ok, port() | pid()} | none | crema_error:error().
client(Producer, Purpose, Timeout) ->
    call_running(Producer, {client, Purpose}, Timeout).

%% @private The process of a second client with that configuration of topics.
-spec own_client(crema_types:client(), crema_topic_config:config(), timeout()) ->
    {ok, pid()} | crema_error:error().
own_client(Producer, Config, Timeout) ->
    call_running(Producer, {own_client, Config}, Timeout).

%% @private A process that works for it, started if need be: see crema_helper.
-spec helper(crema_types:client(), {crema_helper:key(), module(), Args :: term()}) ->
    {ok, pid()} | crema_error:error().
helper(Producer, Helper) ->
    call_running(Producer, {helper, Helper}, infinity).

%% One that stops hears of nothing before it has ended.
-spec call_running(crema_types:client(), term(), timeout()) -> term().
call_running(Producer, Request, Timeout) ->
    case crema_registry:status(Producer) of
        {ok, #{state := stopping}} -> crema_registry:missing(producer, Producer);
        _ -> call(Producer, Request, Timeout)
    end.

-spec call(crema_types:client(), term(), timeout()) -> term().
call(Producer, Request, Timeout) ->
    case crema_registry:lookup(Producer) of
        {ok, producer, _, _, Pid} when Pid =/= self() ->
            try
                gen_server:call(Pid, Request, Timeout)
            catch
                %% One that is ending answers nothing any more, and is not gone at once.
                exit:{Why, _} ->
                    case Why =:= timeout andalso is_process_alive(Pid) of
                        true -> not_connected();
                        false -> crema_registry:missing(producer, Producer)
                    end
            end;
        {ok, producer, _, _, _} ->
            not_connected();
        _ ->
            crema_registry:missing(producer, Producer)
    end.

%% @private
-spec not_connected() -> crema_error:error().
not_connected() ->
    crema_error:make(not_connected, "the producer has no client at present", #{retriable => true}).
