%% @private Gets tokens for a client that logs in by OAUTHBEARER: one process for each
%% client, which lives as long as its port. It schedules and tells; the user's function runs
%% in a process of its own, which may crash or hang, and hands the token to the driver
%% itself, so that no other process ever has it.
-module(crema_token).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start/3, restart/2, stop/1]).

-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-export_type([keeper/0]).

-record(state, {
    port :: crema_port:client(),
    owner :: pid(),
    %% what all events say
    metadata :: map(),
    %% in a function: it may hold a secret
    source :: fun(() -> {crema_sasl:source(), Config :: binary()}),
    timeout :: pos_integer(),
    backoff :: {pos_integer(), pos_integer()},
    %% who calls the function now, since when, and what ends it
    runner = none :: none | {pid(), Since :: integer(), Limit :: reference()},
    %% since the last token
    failures = 0 :: non_neg_integer()
}).

%% However short a token lives: for whoever is asked for it.
-define(LEAST_MS, 100).

%% Of a text that it returned as an error.
-define(MOST_SHOWN, 500).

%% When a token may end: in 1973, which in seconds is far off, and in 9999, for some never end.
-define(FIRST, 100000000000).
-define(LAST, 253402300799999).

%% The process, the monitor of its owner's, and what starts another.
-type keeper() :: {pid(), reference(), fun(() -> keeper())}.

-type state() :: #state{}.
-type result() :: {ok, Lifetime :: pos_integer()} | {error, iodata()} | closed.

%% @doc Starts it for a client that the calling process owns, and monitors it; `none' when
%% these parsed options ask for no tokens.
%%
%% It tells its owner of the first failure, `{crema_token, Pid, Reason}', and that it has a
%% token again, `{crema_token, Pid, ok}'.
-spec start(crema_port:client(), Metadata :: map(), Options :: map()) -> keeper() | none.
start(Port, Metadata, Options) ->
    case crema_sasl_options:source(Options) of
        none ->
            none;
        Source ->
            State = #state{
                port = Port,
                owner = self(),
                metadata = Metadata,
                source = fun() -> Source end,
                timeout = maps:get(oauth_timeout, Options),
                backoff = maps:get(oauth_backoff, Options)
            },
            started(State)
    end.

%% Not linked: it ends with the port, and its crash is told by the monitor.
-spec started(state()) -> keeper().
started(State) ->
    {ok, Pid} = gen_server:start(?MODULE, State, []),
    {Pid, erlang:monitor(process, Pid), fun() -> started(State) end}.

%% @doc It has ended: there is another, unless it ended with its client.
-spec restart(Reason :: term(), fun(() -> keeper())) -> keeper() | none.
restart(normal, _Again) -> none;
restart(_Crash, Again) -> Again().

%% @doc Another gets the tokens from now on. It is not killed, for then a function that
%% traps exits would go on.
-spec stop(keeper() | none) -> ok.
stop(none) ->
    ok;
stop({Pid, Monitor, _Again}) ->
    true = erlang:demonitor(Monitor, [flush]),
    gen_server:cast(Pid, stop).

-spec init(state()) -> {ok, state()}.
init(#state{port = Port} = State) ->
    process_flag(trap_exit, true),
    _ = crema_port:monitor(Port),
    self() ! call,
    {ok, State}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()}.
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()} | {stop, normal, state()}.
handle_cast(stop, State) ->
    {stop, normal, State};
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()} | {stop, normal, state()}.
handle_info(call, #state{runner = none} = State) ->
    {noreply, run(State)};
handle_info({Runner, Result}, #state{runner = {Runner, _, _}, port = Port} = State) ->
    %% Nothing is told after a stop.
    case Result =:= closed orelse not crema_port:is_open(Port) of
        true -> {stop, normal, State};
        false -> {noreply, ended(Result, State)}
    end;
handle_info({'EXIT', Runner, _}, #state{runner = {Runner, _, _}} = State) ->
    {noreply, ended({error, "it was ended from outside"}, State)};
handle_info({timeout, Limit, limit}, #state{runner = {_, _, Limit}} = State) ->
    Text = io_lib:format("it took longer than ~b ms", [State#state.timeout]),
    {noreply, ended({error, Text}, State)};
handle_info({'DOWN', _, _, Port, _}, #state{port = Port} = State) ->
    {stop, normal, State};
handle_info(_, State) ->
    {noreply, State}.

-spec terminate(term(), state()) -> ok.
terminate(_Reason, State) ->
    _ = without_runner(State),
    ok.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#state{port = Port, failures = Failures}) -> {Port, Failures} end).

%% ---- results -------------------------------------------------------------------------

-spec run(state()) -> state().
run(#state{source = Source, owner = Owner, metadata = Metadata, failures = Failures, port = Port} = State) ->
    Self = self(),
    Call = fun() ->
        {Function, Config} = Source(),
        About = Metadata#{attempt => Failures + 1, config => Config},
        Self ! {self(), call(Function, About, Port)}
    end,
    Runner = spawn_link(fun() ->
        ok = crema_child:works_for(Owner),
        Call()
    end),
    Limit = erlang:start_timer(State#state.timeout, self(), limit),
    State#state{runner = {Runner, crema_deadline:now(), Limit}}.

%% 80 % of a token's life is when librdkafka asks, too, but only once a second.
-spec ended({ok, pos_integer()} | {error, iodata()}, state()) -> state().
ended(Result, #state{runner = {_, Since, _}, failures = Failures} = Running) ->
    State = without_runner(Running),
    case Result of
        {ok, Lifetime} ->
            Duration = crema_deadline:now() - Since,
            Measured = #{duration => Duration, lifetime => Lifetime, attempt => Failures + 1},
            ok = event([crema, client, token_refreshed], Measured, #{}, State),
            ok = changed(Failures > 0, ok, State),
            again(max(?LEAST_MS, Lifetime * 4 div 5), State#state{failures = 0});
        {error, Text} ->
            {error, Reason} = crema_error:make(token_failed, ["oauth_token: ", Text], #{}),
            #state{backoff = {Min, Max}} = State,
            Delay = crema_backoff:delay(Failures + 1, Min, Max),
            Measured = #{attempt => Failures + 1, delay => Delay},
            Problem = crema_client:problem(Reason),
            ok = event([crema, client, token_failed], Measured, Problem, State),
            ok = changed(Failures =:= 0, Reason, State),
            again(Delay, State#state{failures = Failures + 1})
    end.

-spec again(non_neg_integer(), state()) -> state().
again(Delay, State) ->
    _ = erlang:send_after(min(Delay, 16#FFFFFFFF), self(), call),
    State.

-spec without_runner(state()) -> state().
without_runner(#state{runner = none} = State) ->
    State;
without_runner(#state{runner = {Runner, _, Limit}} = State) ->
    _ = erlang:cancel_timer(Limit),
    true = unlink(Runner),
    true = exit(Runner, kill),
    State#state{runner = none}.

-spec changed(boolean(), ok | crema_error:reason(), state()) -> ok.
changed(false, _, _State) ->
    ok;
changed(true, News, #state{owner = Owner}) ->
    Owner ! {?MODULE, self(), News},
    ok.

-spec event(crema_events:event_name(), map(), map(), state()) -> ok.
event(Name, Measured, More, #state{metadata = Metadata}) ->
    crema_events:execute(Name, Measured, maps:merge(Metadata, More)).

%% ---- in the process that calls the function ------------------------------------------

%% What it returned or raised may hold the token, or what it was got with, and the report of a
%% process that crashes shows the arguments of calls: so nothing raises here.
-spec call(fun((crema_sasl:about()) -> term()), crema_sasl:about(), crema_port:client()) -> result().
call(Function, About, Port) ->
    try Function(About) of
        {ok, Token} -> returned(crema_input:pairs(Token), Port);
        {error, Reason} -> {error, ["it returned an error: ", shown(Reason)]};
        _ -> {error, "it returned neither {ok, Token} nor {error, Reason}"}
    catch
        Class:Reason:Stack -> {error, crash(Class, Reason, Stack)}
    end.

-spec returned({ok, [{term(), term()}], list()} | error, port()) -> result().
returned({ok, Pairs, []}, Port) ->
    hand_over(maps:from_list(Pairs), Port);
returned(_, _Port) ->
    {error, "what it returned as {ok, Token} is no map of token, and lifetime or expires_at"}.

%% On one line, and not as much as a server's whole answer.
-spec shown(term()) -> iodata().
shown(Reason) ->
    case is_atom(Reason) orelse crema_input:text(Reason) of
        {ok, Text} ->
            Line = re:replace(crema_error:text(Text), "\\s+", " ", [global, {return, binary}]),
            string:slice(Line, 0, ?MOST_SHOWN);
        _ ->
            crema_input:show(Reason)
    end.

-spec crash(error | exit | throw, term(), list()) -> iodata().
crash(Class, Reason, Stack) ->
    Where =
        case crema_events:without_arguments(Stack) of
            [{Module, Name, Arity, Location} | _] ->
                Line = hd([N || {line, N} <- Location, is_integer(N)] ++ [0]),
                io_lib:format(" in ~ts:~ts/~b, line ~b", [Module, Name, Arity, Line]);
            _ ->
                []
        end,
    [io_lib:format("it crashed with ~s", [Class]), kind(Reason), Where].

%% What no token looks like, should that be an atom.
-spec kind(term()) -> iodata().
kind(#{'__struct__' := Struct}) when is_atom(Struct) -> [$\s, crema_input:show(Struct)];
kind(Reason) when tuple_size(Reason) > 0 -> kind(element(1, Reason));
kind(Reason) when is_atom(Reason) ->
    Name = atom_to_binary(Reason),
    [[$\s, Name] || re:run(Name, "^[a-z_]+$", [{capture, none}]) =:= match];
kind(_) -> [].

-spec hand_over(map(), crema_port:client()) -> result().
hand_over(Token, Port) ->
    Now = erlang:system_time(millisecond),
    case {texts(Token), expires_at(Token, Now)} of
        {error, _} ->
            {error, "what it returned has no token, or a principal or extensions that are no text"};
        {_, {error, _} = Error} ->
            Error;
        {{ok, _, _, _}, {ok, At}} when At =< Now ->
            {error, io_lib:format("the token it returned has ended ~b ms ago", [Now - At])};
        {{ok, Value, Principal, Extensions}, {ok, At}} ->
            Data = term_to_binary({Value, At, Principal, Extensions}),
            case crema_port:command(Port, ?CMD_SET_TOKEN, Data) of
                ok -> {ok, At - Now};
                {error, {closed, _}} -> closed;
                {error, {_, #{message := Text}}} -> {error, ["the token is not taken: ", Text]}
            end
    end.

%% What is given in another unit of time is mostly decades off.
-spec expires_at(map(), integer()) -> {ok, integer()} | {error, iodata()}.
expires_at(#{expires_at := At}, _Now) when is_integer(At), At >= ?FIRST, At =< ?LAST ->
    {ok, At};
expires_at(#{expires_at := _}, _Now) ->
    {error, "expires_at of what it returned must be milliseconds since 1970: is it in another unit?"};
expires_at(#{lifetime := Life}, Now) when is_integer(Life), Life > 0, Now + Life =< ?LAST ->
    {ok, Now + Life};
expires_at(#{lifetime := _}, _Now) ->
    {error, "lifetime of what it returned must be a number of milliseconds above 0"};
expires_at(_, _Now) ->
    {error, "the token it returned has neither expires_at nor lifetime, in milliseconds"}.

-spec texts(map()) -> {ok, binary(), binary(), [{binary(), binary()}]} | error.
texts(#{token := Token} = Given) ->
    Principal = crema_input:text(maps:get(principal, Given, <<>>)),
    Extensions = extensions(crema_input:pairs(maps:get(extensions, Given, #{}))),
    case {crema_input:text(Token), Principal, Extensions} of
        {{ok, Value}, {ok, Name}, {ok, Pairs}} -> {ok, Value, Name, Pairs};
        _ -> error
    end;
texts(_) ->
    error.

-spec extensions({ok, [{term(), term()}], list()} | error) ->
    {ok, [{binary(), binary()}]} | error.
extensions({ok, Pairs, []}) ->
    Read = [{crema_input:text(Name), crema_input:text(Value)} || {Name, Value} <- Pairs],
    Texts = [{Name, Value} || {{ok, Name}, {ok, Value}} <- Read],
    case length(Texts) =:= length(Pairs) of
        true -> {ok, Texts};
        false -> error
    end;
extensions(_) ->
    error.
