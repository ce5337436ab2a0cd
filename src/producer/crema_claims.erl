%% @private Verdicts of a process that works for a producer (its buffer, a topic
%% handle's), each kept for the caller who may await it, as the driver does for
%% plain calls: until it is fetched, the caller dies, or too many wait. When the
%% process has ended it has left them with the anchor.
-module(crema_claims).

-export([new/1, add/2, settle/3, pending/1, handle_call/3, handle_info/2, leave/1]).
-export([await/2, completed/1]).

-export_type([claims/0, id/0, ref/0]).

-type id() :: pos_integer().
-type ref() :: {crema_claim, pid(), id()}.

-record(claims, {
    pending = #{} :: #{id() => Caller :: pid()},
    settled :: crema_left:left()
}).
-opaque claims() :: #claims{}.

%% @doc `Max': verdicts kept at a time.
-spec new(Max :: pos_integer()) -> claims().
new(Max) ->
    #claims{settled = crema_left:new(Max)}.

%% @doc A verdict that is to come for a caller.
-spec add(Caller :: pid(), claims()) -> {id(), ref(), claims()}.
add(Caller, #claims{pending = Pending} = Claims) ->
    Id = crema_produce:call_number(),
    {Id, {crema_claim, self(), Id}, Claims#claims{pending = Pending#{Id => Caller}}}.

%% @doc The verdict, which is final. One that has one already keeps it.
-spec settle(id(), Verdict :: term(), claims()) -> claims().
settle(Id, Verdict, #claims{pending = Pending, settled = Settled} = Claims) ->
    case maps:take(Id, Pending) of
        {Caller, Rest} ->
            Kept = crema_left:put(Caller, Id, Verdict, Settled),
            Claims#claims{pending = Rest, settled = Kept};
        error ->
            Claims
    end.

-spec pending(claims()) -> [id()].
pending(#claims{pending = Pending}) ->
    maps:keys(Pending).

%% @doc Answers {@link await/2} and {@link completed/1}, now or when it can.
-spec handle_call({await, id(), timeout()} | {completed, id()}, gen_server:from(), claims()) ->
    claims().
handle_call({completed, Id}, From, #claims{pending = Pending} = Claims) ->
    gen_server:reply(From, not is_map_key(Id, Pending)),
    Claims;
handle_call({await, Id, Timeout}, {Caller, _} = From, #claims{} = Claims) ->
    #claims{pending = Pending, settled = Settled} = Claims,
    case {crema_left:take(Caller, Id, Settled), Pending} of
        {{Verdict, Rest}, _} ->
            gen_server:reply(From, {ok, Verdict}),
            Claims#claims{settled = Rest};
        {error, #{Id := Caller}} ->
            Claims#claims{settled = crema_left:ask({Caller, Id}, From, Timeout, Settled)};
        {error, _} ->
            gen_server:reply(From, unknown()),
            Claims
    end.

%% @doc Takes what is for it from the process's mailbox.
-spec handle_info(term(), claims()) -> {ok, claims()} | unknown.
handle_info({expired, Key}, #claims{settled = Settled} = Claims) ->
    {ok, Claims#claims{settled = crema_left:expired(Key, Settled)}};
handle_info({'DOWN', _, process, Caller, _}, #claims{settled = Settled} = Claims) ->
    {ok, Claims#claims{settled = crema_left:gone(Caller, Settled)}};
handle_info(_, _) ->
    unknown.

%% @doc Before the process ends: the anchor keeps what nobody has fetched.
-spec leave(claims()) -> ok.
leave(#claims{settled = Settled}) ->
    lists:foreach(
        fun({{Caller, Id}, Verdict}) -> crema_anchor:leave(Caller, Id, Verdict) end,
        crema_left:all(Settled)
    ).

%% @doc The verdict. After a time-out the reference is as good as before.
-spec await(ref(), timeout()) -> term().
await({crema_claim, Pid, Id} = Ref, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    try gen_server:call(Pid, {await, Id, Timeout}, infinity) of
        {ok, Verdict} -> Verdict;
        error -> crema_report:not_final(Ref, []);
        {error, _} = Error -> Error
    catch
        exit:_ -> await_left(Id, Timeout)
    end.

-spec await_left(id(), timeout()) -> term().
await_left(Id, Timeout) ->
    case crema_anchor:left(Id, Timeout) of
        {ok, Verdict} -> Verdict;
        error -> unknown()
    end.

%% @doc Whether there is a verdict.
-spec completed(ref()) -> boolean().
completed({crema_claim, Pid, Id}) ->
    try
        gen_server:call(Pid, {completed, Id}, infinity)
    catch
        exit:_ -> true
    end.

-spec unknown() -> crema_error:error().
unknown() ->
    crema_error:make(
        unknown_reference,
        "it was awaited already, is another process's, or was forgotten",
        #{}
    ).
