%% @private A transaction that gathers what came of the messages of several
%% partitions, and how far each has come. In the process that owns it.
-module(crema_gathering).

-include("../port/crema_commands.hrl").

-export([open/1, add/4, commit/3, give_up/1, culprits/2]).
-export([slots/1, reached/1, bytes/1, age/1, measured/1]).

-export_type([gathering/0]).

-record(part, {
    place :: crema_group_events:place(), from :: non_neg_integer(), to :: non_neg_integer()
}).

-record(gathering, {
    handle :: crema_transaction:handle(),
    began = crema_deadline:now() :: integer(),
    %% those of each addition, to be awaited
    reports = [] :: [{crema_group_events:place(), crema_exactly_once:range(), crema_await:ref()}],
    messages = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    parts = #{} :: #{crema_slots:id() => #part{}}
}).
-opaque gathering() :: #gathering{}.

%% @doc Waits for the brokers, as long as it takes.
-spec open(pid()) -> {ok, gathering()} | crema_error:error().
open(Producer) ->
    case crema_transaction:open(Producer, #{timeout => infinity}) of
        {ok, Handle} -> {ok, #gathering{handle = Handle}};
        {error, _} = Error -> Error
    end.

%% @doc Adds messages, and that their slot has come so far. `refused': of these
%% messages; the transaction is as before. `{error, _}': it has come to its end.
-spec add({crema_slots:id(), crema_group_events:place()}, Range, Messages, gathering()) ->
    {ok, gathering()} | {refused, crema_error:error()} | crema_error:error()
when
    Range :: crema_exactly_once:range(), Messages :: [crema_packet:message()].
add({_, Place} = Slot, Range, Messages, #gathering{handle = Handle} = Gathering) ->
    case produce(Handle, Messages) of
        ok ->
            {ok, noted(Slot, Range, Messages, Gathering)};
        {ok, Ref} ->
            #gathering{reports = Reports} = New = noted(Slot, Range, Messages, Gathering),
            {ok, New#gathering{reports = [{Place, Range, Ref} | Reports]}};
        {error, _} = Error ->
            case crema_transaction:is_open(Handle) of
                true -> {refused, Error};
                false -> Error
            end
    end.

-spec produce(crema_transaction:handle(), [crema_packet:message()]) ->
    ok | {ok, crema_await:ref()} | crema_error:error().
produce(_Handle, []) ->
    ok;
produce(Handle, Messages) ->
    try
        crema_produce:async(Handle, {many, Messages}, #{})
    catch
        %% The user's code. It has been called before anything was sent.
        Class:Reason:Stack ->
            crema_error:make(middleware, crema_crash:format(Class, Reason, Stack), #{})
    end.

-spec noted(
    {crema_slots:id(), crema_group_events:place()},
    crema_exactly_once:range(),
    [crema_packet:message()],
    gathering()
) -> gathering().
noted({Id, Place}, {From, To}, New, #gathering{parts = Parts} = Gathering) ->
    Part =
        case Parts of
            #{Id := Before} -> Before#part{to = To};
            #{} -> #part{place = Place, from = From, to = To}
        end,
    #gathering{messages = Messages, bytes = Bytes} = Gathering,
    Gathering#gathering{
        parts = Parts#{Id => Part},
        messages = Messages + length(New),
        bytes = Bytes + lists:sum([size_of(Message) || Message <- New])
    }.

-spec size_of(crema_packet:message()) -> non_neg_integer().
size_of(Message) ->
    lists:sum([size_of(Field, Message) || Field <- [key, value]]).

-spec size_of(key | value, crema_packet:message()) -> non_neg_integer().
size_of(Field, Message) ->
    case maps:get(Field, Message, undefined) of
        Null when is_atom(Null) -> 0;
        Given -> iolist_size(Given)
    end.

%% @doc Commits, with metadata of the group that the slots' work was done under, and
%% acknowledges. The outcome of a commit may remain unknown: `commit_unknown'.
-spec commit(port() | none, none | crema_transaction:metadata(), gathering()) ->
    ok | crema_error:error().
commit(Port, Metadata, #gathering{handle = Handle, parts = Parts} = Gathering) ->
    Offsets = [{Topic, N, To + 1} || #part{place = {Topic, N}, to = To} <- maps:values(Parts)],
    case send_offsets(Handle, Metadata, Offsets) of
        ok ->
            case crema_transaction:commit(Handle) of
                ok -> acknowledge(Port, claimed(Gathering));
                {error, _} = Error -> Error;
                {aborted, _} -> crema_transaction_error:stale()
            end;
        {error, _} = Error ->
            _ = give_up(Gathering),
            Error
    end.

-spec send_offsets(crema_transaction:handle(), none | crema_transaction:metadata(), [
    crema_transaction:offset()
]) -> ok | crema_error:error().
send_offsets(_Handle, _Metadata, []) -> ok;
send_offsets(Handle, Metadata, Offsets) -> crema_transaction:send_offsets(Handle, Metadata, Offsets).

%% A slot that has ended meanwhile needs it no more.
-spec acknowledge(port() | none, gathering()) -> ok.
acknowledge(Port, #gathering{parts = Parts}) ->
    maps:foreach(
        fun(Id, #part{from = From, to = To}) ->
            crema_port:command(Port, ?CMD_ACK, <<Id:64, From:64, To:64>>)
        end,
        Parts
    ).

%% Its reports are kept until somebody awaits them.
-spec claimed(gathering()) -> gathering().
claimed(#gathering{reports = Reports} = Gathering) ->
    _ = [crema_await:await(Ref, 0) || {_, _, Ref} <- Reports],
    Gathering#gathering{reports = []}.

%% @doc Which additions it failed of, when it could not be committed for that: those of
%% which a message was not delivered, and why. Time is not the fault of a message.
-spec culprits(crema_error:error(), gathering()) ->
    [{crema_group_events:place(), crema_exactly_once:range(), crema_error:error()}].
culprits(Failed, #gathering{reports = Reports}) ->
    Verdicts = [
        {Place, Range, crema_transaction:worst(crema_await:await(Ref, 0), Failed)}
     || {Place, Range, Ref} <- Reports
    ],
    [Verdict || {_, _, Error} = Verdict <- Verdicts, Error =/= Failed, not is_of_time(Error)].

-spec is_of_time(crema_error:error()) -> boolean().
is_of_time({error, {Code, Details}}) ->
    Code =:= msg_timed_out orelse maps:get(retriable, Details, false).

-spec give_up(gathering()) -> ok.
give_up(#gathering{handle = Handle}) ->
    _ = crema_transaction:give_up(Handle),
    ok.

-spec slots(gathering()) -> [crema_slots:id()].
slots(#gathering{parts = Parts}) -> maps:keys(Parts).

%% @doc How far each partition has come: the offset of its last message.
-spec reached(gathering()) -> #{crema_group_events:place() => non_neg_integer()}.
reached(#gathering{parts = Parts}) ->
    maps:from_list([{Place, To} || #part{place = Place, to = To} <- maps:values(Parts)]).

-spec bytes(gathering()) -> non_neg_integer().
bytes(#gathering{bytes = Bytes}) -> Bytes.

%% @doc The milliseconds since it began.
-spec age(gathering()) -> non_neg_integer().
age(#gathering{began = Began}) -> crema_deadline:now() - Began.

%% @doc What is told of it.
-spec measured(gathering()) -> #{count := non_neg_integer(), duration := non_neg_integer()}.
measured(#gathering{messages = Messages} = Gathering) ->
    #{count => Messages, duration => age(Gathering)}.
