%% @private What a handler is, and how its callbacks are called: whatever they
%% do or return comes back as a verdict.
%%
%% A handler is a module that has the callbacks of {@link crema_consumer}, with
%% arguments or without, or a function of one argument, the message. Such a
%% function has no state; it returns `ok', or what handle_message/2 may return
%% without the state at its end.
-module(crema_handler).

-export([check/1, new/1, new/2, takes_batches/1, start/2, call/3, tell/4, terminate/3, returns/2]).

-export_type([definition/0, handler/0, state/0, verdict/0, crash/0]).

-type definition() :: crema_consumer:handler().

-record(handler, {
    %% given the message, or the batch of them, and the state
    call :: fun((term(), state()) -> term()),
    batches :: boolean(),
    module :: module(),
    function :: atom(),
    arity = 2 :: 1..2,
    args :: term(),
    %% what is taken off the names of topics that it is told of
    strip :: crema_prefix:prefix(),
    %% the optional callbacks that it has
    has = [] :: [atom()]
}).

-opaque handler() :: #handler{}.
-type state() :: term().

%% What is to be done with what was handled: see {@link crema_verdict}, which
%% does it.
-type verdict() ::
    %% done with
    {ack, state()}
    %% done with up to that offset; the rest comes again at once
    | {ack, UpTo :: integer(), state()}
    %% done with, and this came of it: exactly once
    | {produce, [map()], state()}
    %% somebody acknowledges it later, by its token
    | {noack, state()}
    %% it comes again after so long, which is no failure
    | {retry, Millis :: non_neg_integer(), state()}
    %% done with, without having been handled
    | {skip, Reason :: term(), state()}
    %% done with; then nothing of the partition for so long
    | {pause, Millis :: non_neg_integer(), state()}
    %% it goes to the dead-letter topic, and is done with then
    | {dead_letter, Reason :: term(), state()}
    %% not done with, and the whole consumer stops
    | {stop, Reason :: term(), state()}
    %% it failed: the failure policy's
    | {error, Reason :: term(), state()}
    | crash().

%% What a callback raised, or `bad_return'. There is no new state.
-type crash() :: {crash, error | exit | throw, Reason :: term(), Stack :: list()}.

%% Those of a module that need not be there, all with two arguments.
-define(OPTIONAL, [
    init, handle_assigned, handle_revoked, handle_lost, handle_error, handle_info, terminate
]).

-define(IS_MILLIS(Value), (is_integer(Value) andalso Value >= 0 andalso Value =< 16#FFFFFFFF)).

%% @doc Checks a definition, and brings it into one form: a module always has
%% arguments (`[]' if none were given), a function is a fun. That form is a
%% definition too. `false' for what is no handler by its form; a phrase for a
%% module that is none.
-spec check(term()) -> {ok, definition()} | {error, module(), binary()} | false.
check(Fun) when is_function(Fun, 1) ->
    {ok, Fun};
check(Module) when is_atom(Module) ->
    check({Module, []});
check({Module, _}) when Module =:= undefined; Module =:= nil; is_boolean(Module) ->
    false;
check({Module, Args}) when is_atom(Module) ->
    case {is_loaded(Module), is_handler(Module)} of
        {false, _} ->
            {error, Module, <<"is no module that can be loaded: is it in the code path?">>};
        {true, true} ->
            {ok, {Module, Args}};
        {true, false} ->
            case is_atom(Args) andalso erlang:function_exported(Module, Args, 1) of
                true -> {ok, fun Module:Args/1};
                false -> {error, Module, no_handler(Args)}
            end
    end;
check(_) ->
    false.

-spec is_loaded(module()) -> boolean().
is_loaded(Module) ->
    try code:ensure_loaded(Module) of
        Loaded -> Loaded =:= {module, Module}
    catch
        _:_ -> false
    end.

-spec is_handler(module()) -> boolean().
is_handler(Module) ->
    Callbacks = [handle_message, handle_messages],
    lists:any(fun(F) -> erlang:function_exported(Module, F, 2) end, Callbacks).

-spec no_handler(term()) -> binary().
no_handler(Function) when is_atom(Function), Function =/= nil ->
    <<"exports neither handle_message/2 nor handle_messages/2 (see crema_consumer), nor ",
        (atom_to_binary(Function))/binary, "/1">>;
no_handler(_) ->
    <<"exports neither handle_message/2 nor handle_messages/2 (see crema_consumer)">>.

%% @doc Of a definition that check/1 has made.
-spec new(definition()) -> handler().
new(Fun) when is_function(Fun, 1) ->
    {module, Module} = erlang:fun_info(Fun, module),
    {name, Name} = erlang:fun_info(Fun, name),
    Call = fun(Message, State) -> with_state(Fun(Message), State) end,
    #handler{
        call = Call, batches = false, module = Module, function = Name, arity = 1, args = none
    };
new({Module, Args}) ->
    Batches = erlang:function_exported(Module, handle_messages, 2),
    Function =
        case Batches of
            true -> handle_messages;
            false -> handle_message
        end,
    #handler{
        call = fun Module:Function/2,
        batches = Batches,
        module = Module,
        function = Function,
        args = Args,
        has = [F || F <- ?OPTIONAL, erlang:function_exported(Module, F, 2)]
    }.

%% @doc The same, in a consumer with these options.
-spec new(definition(), Options :: map()) -> handler().
new(Definition, #{strip_prefix := true, prefix := Prefix} = Options) when is_binary(Prefix) ->
    #handler{call = Call} = Handler = new(Definition),
    Stripped = fun(Given, State) -> Call(crema_prefix:strip(Prefix, Given), State) end,
    counted(Options, Handler#handler{call = Stripped, strip = Prefix});
new(Definition, Options) ->
    counted(Options, new(Definition)).

%% A batch costs more than to say which one it is.
-spec counted(Options :: map(), handler()) -> handler().
counted(Options, #handler{call = Call, batches = Batches} = Handler) ->
    case Batches orelse maps:get(log_offset, Options, false) of
        true -> Handler#handler{call = crema_log:with_offset(Call)};
        false -> Handler
    end.

-spec with_state(term(), state()) -> term().
with_state(Answer, State) when Answer =:= ack; Answer =:= noack; Answer =:= skip -> {Answer, State};
with_state(Answer, State) when is_tuple(Answer) -> erlang:append_element(Answer, State);
with_state(Answer, _State) -> Answer.

%% @doc Whether it is called with batches, not with single messages.
-spec takes_batches(handler()) -> boolean().
takes_batches(#handler{batches = Batches}) ->
    Batches.

%% @doc Makes the handler's first state, and says where it wants to begin. Without an
%% init/2 the state is its arguments.
-spec start(handler(), crema_consumer:info()) ->
    {ok, state(), crema_control:where() | none} | crash().
start(#handler{module = Module, args = Args, has = Has, strip = Strip}, Info) ->
    try lists:member(init, Has) andalso Module:init(crema_prefix:strip(Strip, Info), Args) of
        false ->
            {ok, Args, none};
        {ok, State} ->
            {ok, State, none};
        {ok, State, Options} = Started ->
            case where(Options) of
                {ok, Where} -> {ok, State, Where};
                error -> bad_return({Module, init, 2}, Started)
            end;
        Other ->
            bad_return({Module, init, 2}, Other)
    catch
        Class:Reason:Stack -> {crash, Class, Reason, Stack}
    end.

-spec where(term()) -> {ok, crema_control:where()} | error.
where([{start, Where}]) ->
    where(#{start => Where});
where(#{start := Where}) ->
    case crema_control:is_where(Where) of
        true -> {ok, Where};
        false -> error
    end;
where(_) ->
    error.

%% @doc Gives it a message, or a batch.
-spec call(
    handler(), crema_consumer:message() | [crema_consumer:message(), ...], state()
) -> verdict().
call(#handler{call = Call} = Handler, Given, State) ->
    try Call(Given, State) of
        {ack, _} = Verdict -> Verdict;
        Answer -> verdict(Answer, State, Handler)
    catch
        Class:Reason:Stack -> {crash, Class, Reason, Stack}
    end.

%% @doc What a callback may return, as it is told to those who return something
%% else: atoms that begin with a capital stand for any term. The clauses below take it.
-spec returns(Callback :: atom(), arity()) -> [term(), ...].
returns(_Function, 1) ->
    [without_state(Return) || Return <- returns(handle_message, 2)];
returns(init, 2) ->
    [{ok, 'State'}, {ok, 'State', #{start => 'Where'}}];
returns(Callback, 2) when Callback =:= handle_message; Callback =:= handle_messages ->
    [
        ok,
        {ack, 'State'},
        {ack, 'UpTo', 'State'},
        {produce, 'Messages', 'State'},
        {noack, 'State'},
        {retry, 'Millis', 'State'},
        {skip, 'State'},
        {skip, 'Reason', 'State'},
        {pause, 'Millis', 'State'},
        {stop, 'Reason', 'State'},
        {dead_letter, 'Reason', 'State'},
        {error, 'Reason', 'State'}
    ];
returns(_Callback, 2) ->
    [{ok, 'State'}, {stop, 'Reason', 'State'}].

-spec without_state(atom() | tuple()) -> term().
without_state({Atom, 'State'}) -> Atom;
without_state(Tuple) when is_tuple(Tuple) -> erlang:delete_element(tuple_size(Tuple), Tuple);
without_state(ok) -> ok.

-spec verdict(term(), state(), handler()) -> verdict().
verdict(ok, State, _) -> {ack, State};
verdict({noack, _} = Verdict, _, _) -> Verdict;
verdict({error, _, _} = Verdict, _, _) -> Verdict;
verdict({ack, UpTo, _} = Verdict, _, _) when is_integer(UpTo) -> Verdict;
verdict({retry, Millis, _} = Verdict, _, _) when ?IS_MILLIS(Millis) -> Verdict;
verdict({pause, Millis, _} = Verdict, _, _) when ?IS_MILLIS(Millis) -> Verdict;
verdict({skip, State}, _, _) -> {skip, undefined, State};
verdict({skip, _, _} = Verdict, _, _) -> Verdict;
verdict({dead_letter, _, _} = Verdict, _, _) -> Verdict;
verdict({stop, _, _} = Verdict, _, _) -> Verdict;
%% A proper list.
verdict({produce, Messages, _} = Verdict, _, _) when length(Messages) >= 0 -> Verdict;
verdict(Other, _, Handler) -> bad_return(Handler, Other).

%% @doc Calls one of the callbacks that only change the state, if it is there.
-spec tell(handler(), Callback :: atom(), Argument :: term(), state()) ->
    {ok, state()} | {stop, Reason :: term(), state()} | crash().
tell(#handler{strip = Strip} = Handler, Callback, Info, State) when
    Strip =/= undefined,
    (Callback =:= handle_assigned orelse Callback =:= handle_revoked orelse
        Callback =:= handle_lost)
->
    tell(Handler#handler{strip = undefined}, Callback, crema_prefix:strip(Strip, Info), State);
tell(#handler{module = Module, has = Has}, Callback, Argument, State) ->
    case lists:member(Callback, Has) of
        true ->
            try Module:Callback(Argument, State) of
                {ok, _} = Told -> Told;
                {stop, _, _} = Stop -> Stop;
                Other -> bad_return({Module, Callback, 2}, Other)
            catch
                Class:Reason:Stack -> {crash, Class, Reason, Stack}
            end;
        false ->
            {ok, State}
    end.

%% @doc The last call. What it returns does not matter.
-spec terminate(handler(), Why :: term(), state()) -> ok | crash().
terminate(#handler{module = Module, has = Has}, Why, State) ->
    try lists:member(terminate, Has) andalso Module:terminate(Why, State) of
        _ -> ok
    catch
        Class:Reason:Stack -> {crash, Class, Reason, Stack}
    end.

%% The stack tells whose return it was.
-spec bad_return(handler() | mfa(), term()) -> crash().
bad_return(#handler{module = Module, function = Function, arity = 1}, Answer) ->
    Returned =
        case Answer of
            %% Without the state that was added to it.
            _ when is_tuple(Answer) -> erlang:delete_element(tuple_size(Answer), Answer);
            _ -> Answer
        end,
    bad_return({Module, Function, 1}, Returned);
bad_return(#handler{module = Module, function = Function}, Returned) ->
    bad_return({Module, Function, 2}, Returned);
bad_return({Module, Function, Arity}, Returned) ->
    {crash, error, {bad_return, {Module, Function, Returned}}, [{Module, Function, Arity, []}]}.
