%% @private Waiting for the reports of calls, in the process that made them.
-module(crema_await).

-include("../port/crema_commands.hrl").

-export([ref/3, reports/5, await/2, await_many/2, completed/1]).

-export_type([ref/0]).

-define(TIMEOUT, <<"not an integer from 0 to 4294967295 (ms), nor infinity">>).

%% Stays good after a time-out; only the process that made it may await it.
-opaque ref() ::
    {crema_ref, crema_port:client(), Call :: pos_integer(), one | many, [crema_report:origin()]}
    | crema_claims:ref().

-spec ref(crema_port:client(), pos_integer(), crema_report:origins()) -> ref().
ref(Port, Call, {Shape, Origins}) ->
    {crema_ref, Port, Call, Shape, Origins}.

%% @doc Reports that come with that tag, for so long; then they are kept.
-spec reports(crema_port:client(), reference(), pos_integer(), timeout(), crema_report:origins()) ->
    crema_report:result() | {ok, [crema_report:result()]}.
reports(Port, Ref, Call, Timeout, Origins) ->
    receive
        {Ref, Bytes} -> crema_report:results(Bytes, Origins)
    after Timeout ->
        case crema_port:command(Port, ?CMD_CANCEL, <<?CANCEL_REPORTS, Call:64>>) of
            ok -> not_final(Port, Call, Origins);
            {error, Reason} -> last_look(Ref, Reason, Port, Call, Origins)
        end
    end.

-spec last_look(
    reference(), crema_error:reason(), crema_port:client(), pos_integer(), crema_report:origins()
) ->
    crema_report:result() | {ok, [crema_report:result()]}.
last_look(Ref, Reason, Port, Call, Origins) ->
    case crema_port:last_answer(Ref, Reason) of
        {ok, Bytes} -> crema_report:results(Bytes, Origins);
        none -> not_final(Port, Call, Origins)
    end.

-spec not_final(crema_port:client(), pos_integer(), crema_report:origins()) -> crema_error:error().
not_final(Port, Call, Origins) ->
    Why = crema_ready:unreached(crema_port:owner(Port)),
    crema_report:not_final(ref(Port, Call, Origins), Why).

%% @doc The reports of an asynchronous call.
-spec await(ref(), timeout()) ->
    crema_report:result() | {ok, [crema_report:result()]} | crema_error:error().
await({crema_ref, Port, Call, Shape, Origins} = Awaited, 0) ->
    case look(Port, Call) of
        wait -> not_final(Port, Call, {Shape, Origins});
        _ -> do_await(Awaited, 0)
    end;
await({crema_ref, _, _, _, _} = Awaited, Timeout) ->
    crema_call:is_timeout(Timeout) orelse
        erlang:error(badarg, [Awaited, Timeout], crema_error:badarg(#{2 => ?TIMEOUT})),
    do_await(Awaited, Timeout);
await({crema_claim, _, _} = Ref, Timeout) ->
    crema_claims:await(Ref, Timeout);
await(Other, Timeout) ->
    erlang:error(badarg, [Other, Timeout], crema_error:badarg(#{1 => no_ref(Other)})).

-spec no_ref(term()) -> binary().
no_ref({ok, Ref}) when element(1, Ref) =:= crema_ref; element(1, Ref) =:= crema_claim ->
    <<"not a reference, but {ok, Reference}: match it first">>;
no_ref(ok) ->
    <<"not a reference: a call whose report is called back, or dropped, has none">>;
no_ref({error, _}) ->
    <<"not a reference, but the error of a call">>;
no_ref(_) ->
    <<"not the reference of an asynchronous call">>.

-spec look(crema_port:client(), pos_integer()) -> ok | wait | crema_error:error().
look(Port, Call) ->
    crema_port:command(Port, ?CMD_LOOK, <<Call:64>>).

-spec do_await(ref(), timeout()) ->
    crema_report:result() | {ok, [crema_report:result()]} | crema_error:error().
do_await({crema_ref, Port, Call, Shape, Origins}, Timeout) ->
    Ref = make_ref(),
    Data = [<<Call:64>> | term_to_binary(Ref)],
    case crema_port:command(Port, ?CMD_AWAIT, Data) of
        ok -> reports(Port, Ref, Call, Timeout, {Shape, Origins});
        {packed, Packed} -> crema_report:results(Packed, {Shape, Origins});
        {error, {closed, _}} = Closed -> await_left(Closed, Call, Timeout, {Shape, Origins});
        {error, _} = Error -> Error
    end.

%% @doc What {@link await/2} says of each, all by the same deadline.
-spec await_many([ref()], timeout()) ->
    [crema_report:result() | {ok, [crema_report:result()]} | crema_error:error()].
await_many(Refs, Timeout) ->
    crema_call:is_timeout(Timeout) orelse
        erlang:error(badarg, [Refs, Timeout], crema_error:badarg(#{2 => ?TIMEOUT})),
    crema_input:is_proper(Refs) orelse
        erlang:error(badarg, [Refs, Timeout], crema_error:badarg(#{1 => <<"not a list of references">>})),
    await_each(Refs, crema_deadline:in(Timeout), []).

%% A producer that has ended is waited for once: what it has left is there then.
-spec await_each([ref()], crema_deadline:deadline(), [crema_port:client()]) -> [crema_report:result()].
await_each([{crema_ref, Port, _, _, _} = Ref | Rest], Deadline, Ended) ->
    Timeout =
        case lists:member(Port, Ended) of
            true -> 0;
            false -> crema_deadline:left(Deadline)
        end,
    case await(Ref, Timeout) of
        {error, {closed, _}} = Closed -> [Closed | await_each(Rest, Deadline, [Port | Ended])];
        Result -> [Result | await_each(Rest, Deadline, Ended)]
    end;
await_each([Ref | Rest], Deadline, Ended) ->
    Result = await(Ref, crema_deadline:left(Deadline)),
    [Result | await_each(Rest, Deadline, Ended)];
await_each([], _Deadline, _Ended) ->
    [].

%% @doc Whether await would answer at once.
-spec completed(ref()) -> boolean().
completed({crema_ref, Port, Call, _, _}) ->
    case look(Port, Call) of
        ok -> true;
        wait -> false;
        {error, _} -> crema_anchor:has_left(Call)
    end;
completed({crema_claim, _, _} = Ref) ->
    crema_claims:completed(Ref);
completed(Other) ->
    erlang:error(badarg, [Other], crema_error:badarg(#{1 => no_ref(Other)})).

%% The producer has ended; what it reported last was left for us.
-spec await_left(crema_error:error(), pos_integer(), timeout(), crema_report:origins()) ->
    crema_report:result() | {ok, [crema_report:result()]}.
await_left(Closed, Call, Timeout, Origins) ->
    case crema_anchor:left(Call, Timeout) of
        {ok, Packed} -> crema_report:results(Packed, Origins);
        error -> Closed
    end.
