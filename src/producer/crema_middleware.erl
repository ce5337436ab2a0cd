%% @doc Middleware: what is done to each message of a call, in the process that
%% produces, before its partition is chosen and it is checked.
%%
%% A middleware is a function of the message, `{Module, Function, Args}' (the
%% message comes before `Args'), or a module of this behaviour, alone (its `Args'
%% are then `[]') or as `{Module, Args}'. What one returns goes on to the next;
%% after `skip' or an error no other sees the message. What one raises is raised
%% in the caller.
-module(crema_middleware).

-export([is_middleware/1, run/2, change/2]).

-export_type([middleware/0, result/0, change/0]).

-type middleware() ::
    fun((crema_types:message()) -> result())
    | {module(), Function :: atom(), Args :: list()}
    | {module(), Args :: term()}
    | module().
-type result() :: {ok, crema_types:message()} | skip | {error, Reason :: term()}.
-type change() :: {append | prepend | remove, middleware()}.

%% A message as the call has it (or the middleware before returned it), checked
%% by nobody yet. `skip': it is not sent, and its result is `{ok, skipped}'. An
%% error refuses the whole call.
-callback handle_message(Message :: crema_types:message(), Args :: term()) -> result().

%% @private
-spec is_middleware(term()) -> boolean().
is_middleware(Fun) when is_function(Fun) -> is_function(Fun, 1);
is_middleware({M, F, A}) -> is_atom(M) andalso is_atom(F) andalso is_list(A);
is_middleware({Module, _Args}) -> is_behaviour(Module);
is_middleware(Module) -> is_behaviour(Module).

-spec is_behaviour(term()) -> boolean().
is_behaviour(Module) ->
    is_atom(Module) andalso code:ensure_loaded(Module) =:= {module, Module} andalso
        erlang:function_exported(Module, handle_message, 2).

%% @private The messages as they come out, in order.
-spec run([middleware()], [crema_types:message() | skipped]) ->
    {ok, [crema_types:message() | skipped]} | crema_error:error().
run([], Messages) ->
    {ok, Messages};
run(Chain, Messages) ->
    run(Messages, Chain, 0, []).

-spec run([crema_types:message() | skipped], [middleware()], non_neg_integer(), list()) ->
    {ok, [crema_types:message() | skipped]} | crema_error:error().
%% Left out before, by a topic handle's.
run([skipped | Rest], Chain, Index, Done) ->
    run(Rest, Chain, Index + 1, [skipped | Done]);
run([Message | Rest], Chain, Index, Done) ->
    case through(Chain, Message) of
        {ok, New} -> run(Rest, Chain, Index + 1, [New | Done]);
        skip -> run(Rest, Chain, Index + 1, [skipped | Done]);
        {refused, Text, Reason} -> refused(Text, Reason, Index)
    end;
run(NoMore, _Chain, _Index, Done) ->
    {ok, lists:reverse(Done, NoMore)}.

-spec through([middleware()], crema_types:message()) ->
    {ok, crema_types:message()} | skip | {refused, string(), term()}.
through([Middleware | Rest], Message) ->
    case call(Middleware, Message) of
        {ok, New} -> through(Rest, New);
        skip -> skip;
        {error, Reason} -> {refused, "a middleware refused it: ", Reason};
        Other -> {refused, "a middleware returned neither {ok, _}, skip nor {error, _}: ", Other}
    end;
through([], Message) ->
    {ok, Message}.

-spec call(middleware(), crema_types:message()) -> term().
call(Fun, Message) when is_function(Fun) -> Fun(Message);
call({M, F, A}, Message) -> apply(M, F, [Message | A]);
call({Module, Args}, Message) -> Module:handle_message(Message, Args);
call(Module, Message) -> Module:handle_message(Message, []).

-spec refused(string(), term(), non_neg_integer()) -> crema_error:error().
refused(Text, Reason, Index) ->
    crema_error:make(middleware, [Text, crema_input:show(Reason)], #{index => Index, reason => Reason}).

%% @private A chain after a change. Of several that are alike the first is removed.
-spec change(change(), [middleware()]) -> {ok, [middleware()]} | crema_error:error().
change({remove, Middleware}, Chain) ->
    case lists:member(Middleware, Chain) of
        true -> {ok, lists:delete(Middleware, Chain)};
        false -> {error, {not_found, #{message => <<"the chain has no such middleware">>}}}
    end;
change({Where, Middleware}, Chain) when Where =:= append; Where =:= prepend ->
    case is_middleware(Middleware) of
        true when Where =:= append -> {ok, Chain ++ [Middleware]};
        true -> {ok, [Middleware | Chain]};
        false -> no_change()
    end;
change(_, _Chain) ->
    no_change().

-spec no_change() -> crema_error:error().
no_change() ->
    Text = "a change is {append, M}, {prepend, M} or {remove, M} of a middleware M",
    crema_error:make(bad_options, Text, #{field => middleware}).
