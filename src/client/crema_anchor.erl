%% @private Holds the anchor: a port that stays open as long as the application
%% runs, and with it those of {@link crema_intake}. Clients that are being reaped
%% send their last reports through it, and leave here what nobody has awaited yet;
%% questions about the driver itself go to it as well.
-module(crema_anchor).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start_link/0, runtime/0, allocated/0, properties/0, error_of/2, left/2, has_left/1, leave/3]).
-export([all_told/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    port :: port(),
    left :: crema_left:left(),
    %% who waits until no reaper has anything to report
    waiting = [] :: [gen_server:from()]
}).

%% Without a reaper alive it has ended, or is about to begin within this.
-define(BEGIN_MS, 100).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc What the loaded driver and its librdkafka are.
-spec runtime() -> {ok, [{atom(), term()}]} | crema_error:error().
runtime() ->
    command(?CMD_RUNTIME, <<>>).

%% @doc Bytes that the VM's process has of malloc(): librdkafka's, the driver's and those
%% of other native code, but not what the emulator maps for itself. For tests: it visits
%% all that is free, which takes milliseconds of a scheduler where that is in pieces.
-spec allocated() -> {ok, non_neg_integer() | none} | crema_error:error().
allocated() ->
    command(?CMD_ALLOCATED, <<>>).

%% @doc The names of librdkafka's properties, as its build has them.
-spec properties() -> [binary()].
properties() ->
    case command(?CMD_PROPERTIES, <<>>) of
        {ok, Table} ->
            [
                Name
             || Line <- binary:split(Table, <<"\n">>, [global]),
                [Name, _ | _] <- [binary:split(Line, [<<" ">>, <<"|">>])],
                binary:match(Name, <<".">>) =/= nomatch
            ];
        {error, _} ->
            []
    end.

%% @doc The error for one of librdkafka's codes. What is said of a code is made
%% once: a hundred thousand messages may fail of the same.
-spec error_of(integer(), Details :: map()) -> crema_error:error().
error_of(Code, Details) ->
    {error, {Known, Said}} =
        case persistent_term:get({?MODULE, Code}, none) of
            none -> first_error(Code, command(?CMD_ERROR_NAME, term_to_binary(Code)));
            Error -> Error
        end,
    {error, {Known, maps:merge(Details, Said)}}.

%% A code that librdkafka has no name for is not kept: a broker may send any.
-spec first_error(integer(), {ok, {binary(), binary()}} | crema_error:error()) ->
    crema_error:error().
first_error(Code, {ok, {Name, Text}}) ->
    Error = crema_error:from_kafka(Name, Text, #{}),
    case Error of
        {error, {unknown, _}} -> ok;
        _ -> persistent_term:put({?MODULE, Code}, Error)
    end,
    Error;
first_error(Code, {error, _}) ->
    crema_error:from_kafka(<<"UNKNOWN">>, integer_to_binary(Code), #{}).

%% @doc The reports of a call of the calling process whose producer has ended.
-spec left(pos_integer(), timeout()) -> {ok, binary() | term()} | error.
left(Call, Timeout) ->
    Most =
        case is_reaping() of
            true -> crema_port:reaper_time();
            false -> ?BEGIN_MS
        end,
    try
        gen_server:call(?MODULE, {left, Call, min(Timeout, Most)}, infinity)
    catch
        exit:_ -> error
    end.

%% @doc Keeps a verdict for a caller, as the reaper has reports kept.
-spec leave(Caller :: pid(), Call :: pos_integer(), term()) -> ok.
leave(Caller, Call, Verdict) ->
    gen_server:cast(?MODULE, {crema_left, Caller, Call, Verdict}).

%% @doc Whether they are here, or nothing is to come any more.
-spec has_left(pos_integer()) -> boolean().
has_left(Call) ->
    try
        gen_server:call(?MODULE, {has_left, Call}, infinity) orelse not is_reaping()
    catch
        exit:_ -> true
    end.

-spec is_reaping() -> boolean().
is_reaping() ->
    count(reapers) > 0.

-spec count(reapers | telling) -> non_neg_integer().
count(Which) ->
    case runtime() of
        {ok, Runtime} -> proplists:get_value(Which, Runtime);
        {error, _} -> 0
    end.

%% @doc Returns when all clients whose ports have closed have reported what they had to
%% report, or after so many milliseconds. Without an anchor nobody can.
-spec all_told(timeout()) -> ok | not_all.
all_told(Timeout) ->
    try
        gen_server:call(?MODULE, all_told, Timeout)
    catch
        exit:_ -> not_all
    end.

-spec command(crema_port:command(), binary()) -> {ok, term()} | crema_error:error().
command(Command, Data) ->
    case persistent_term:get(?MODULE, none) of
        none -> crema_error:make(closed, "the application crema is not started", #{});
        Port -> crema_port:command(Port, Command, Data)
    end.

-spec init([]) -> {ok, #state{}} | {stop, crema_error:reason()}.
init([]) ->
    case crema_port:open(anchor) of
        {ok, Port} ->
            persistent_term:put(?MODULE, Port),
            with_intakes(#state{port = Port, left = crema_left:new()});
        {error, Reason} ->
            {stop, Reason}
    end.

-spec with_intakes(#state{}) -> {ok, #state{}} | {stop, crema_error:reason()}.
with_intakes(State) ->
    case crema_intake:open() of
        ok -> {ok, State};
        {error, Reason} -> {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, term(), #state{}}.
handle_call({left, Call, Wait}, {Caller, _} = From, #state{left = Left} = State) ->
    case crema_left:take(Caller, Call, Left) of
        {Reports, Rest} ->
            {reply, {ok, Reports}, State#state{left = Rest}};
        error ->
            {noreply, State#state{left = crema_left:ask({Caller, Call}, From, Wait, Left)}}
    end;
handle_call(all_told, From, #state{waiting = Waiting} = State) ->
    {noreply, told(State#state{waiting = [From | Waiting]})};
handle_call({has_left, Call}, {Caller, _}, #state{left = Left} = State) ->
    {reply, crema_left:has(Caller, Call, Left), State};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Left, State) ->
    handle_info(Left, State).

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({crema_left, Caller, Call, Reports}, #state{left = Left} = State) ->
    {noreply, State#state{left = crema_left:put(Caller, Call, Reports, Left)}};
handle_info(crema_told, State) ->
    {noreply, told(State)};
handle_info({expired, Key}, #state{left = Left} = State) ->
    {noreply, State#state{left = crema_left:expired(Key, Left)}};
handle_info({'DOWN', _, process, Caller, _}, #state{left = Left} = State) ->
    {noreply, State#state{left = crema_left:gone(Caller, Left)}};
handle_info({'DOWN', _, port, _, _}, State) ->
    {stop, intake_closed, State};
handle_info(_, State) ->
    {noreply, State}.

-spec told(#state{}) -> #state{}.
told(#state{waiting = [_ | _] = Waiting} = State) ->
    case count(telling) of
        0 ->
            _ = [gen_server:reply(From, ok) || From <- Waiting],
            State#state{waiting = []};
        _ ->
            State
    end;
told(State) ->
    State.
