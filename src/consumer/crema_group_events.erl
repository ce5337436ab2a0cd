%% @private What a member of a group tells of its partitions: events and log lines.
-module(crema_group_events).

-export([about/3, assigned/2, revoked/3, lost/2]).
-export([commit_failed/3, offset_reset/4, sought/3]).
-export([handler_crashed/4, handler_error/4, handler_stopped/3, callback_crashed/4]).
-export([skipped/4, paused/3]).

-export_type([about/0, place/0]).

-type place() :: {Topic :: binary(), Partition :: non_neg_integer()}.
%% Who tells: what all events say, and the name in the log.
-opaque about() :: {map(), term()}.

%% @doc Of a consumer whose group's member is the caller, with these parsed options.
-spec about(pid(), crema_client:client(), map()) -> about().
about(Consumer, Client, #{group := Group, name := Name}) ->
    Shown =
        case Name of
            undefined -> Group;
            _ -> crema_child:shown_name(Name)
        end,
    {(crema_client:metadata(Client))#{client => Consumer, group => Group}, Shown}.

-spec assigned([place()], about()) -> ok.
assigned(Places, About) ->
    tell([crema, consumer, assigned], #{count => length(Places)}, Places, About).

%% @doc They were drained, which took from then until now.
-spec revoked([place()], Began :: integer(), about()) -> ok.
revoked(Places, Began, About) ->
    Measured = #{count => length(Places), duration => crema_deadline:now() - Began},
    tell([crema, consumer, revoked], Measured, Places, About).

-spec lost([place()], about()) -> ok.
lost(Places, About) ->
    tell([crema, consumer, lost], #{count => length(Places)}, Places, About).

-spec commit_failed(crema_error:reason(), [place()], about()) -> ok.
commit_failed({Code, Details} = Reason, Places, {Metadata, Name}) ->
    All = Metadata#{code => Code, message => maps:get(message, Details, <<>>)},
    tell([crema, consumer, commit_failed], #{count => length(Places)}, Places, {All, Name}),
    logger:warning("crema consumer ~0p: a commit failed: ~ts", [Name, crema_error:format(Reason)]).

-spec offset_reset(place(), {From :: integer(), To :: integer()}, atom(), about()) -> ok.
offset_reset({Topic, Partition}, {From, To}, Policy, {Metadata, Name}) ->
    crema_events:execute([crema, consumer, offset_reset], #{from => From, to => To}, Metadata#{
        topic => Topic, partition => Partition, offset => From, policy => Policy
    }),
    logger:warning(
        "crema consumer ~0p: ~ts [~b]: offset ~b is no longer in the log, continuing at ~b",
        [Name, Topic, Partition, From, To]
    ).

-spec sought(place(), {From :: integer(), To :: integer()}, about()) -> ok.
sought({Topic, Partition}, {From, To}, {Metadata, _}) ->
    crema_events:execute([crema, consumer, sought], #{from => From, to => To}, Metadata#{
        topic => Topic, partition => Partition
    }).

%% @doc The end of a worker, and when it starts again.
-spec handler_crashed(place(), term(), #{attempt := pos_integer(), delay := non_neg_integer()}, about()) ->
    ok.
handler_crashed({Topic, Partition}, Reason, #{delay := Delay} = Measured, {Metadata, Name}) ->
    {Class, Cause, WithArguments} = crash(Reason),
    Stack = crema_events:without_arguments(WithArguments),
    crema_events:execute([crema, consumer, handler_crashed], Measured, Metadata#{
        topic => Topic,
        partition => Partition,
        class => Class,
        reason => Cause,
        stacktrace => Stack
    }),
    logger:error(
        "crema consumer ~0p: the handler of ~ts [~b] crashed and is started again in ~b ms: ~ts",
        [Name, Topic, Partition, Delay, erl_error:format_exception(Class, Cause, Stack)]
    ).

%% @doc A callback raised that is the last of its handler.
-spec callback_crashed(place(), Callback :: atom(), crema_handler:crash(), about()) -> ok.
callback_crashed(Place, Callback, {crash, Class, Reason, WithArguments}, {Metadata, Name}) ->
    {Topic, Partition} = Place,
    Stack = crema_events:without_arguments(WithArguments),
    crema_events:execute([crema, consumer, callback_crashed], #{}, Metadata#{
        topic => Topic,
        partition => Partition,
        callback => Callback,
        class => Class,
        reason => Reason,
        stacktrace => Stack
    }),
    logger:error("crema consumer ~0p: ~s of the handler of ~ts [~b] crashed: ~ts", [
        Name, Callback, Topic, Partition, erl_error:format_exception(Class, Reason, Stack)
    ]).

%% @doc A handler wants its consumer to stop.
-spec handler_stopped(place(), Reason :: term(), about()) -> ok.
handler_stopped({Topic, Partition}, Reason, {Metadata, Name}) ->
    crema_events:execute([crema, consumer, handler_stopped], #{}, Metadata#{
        topic => Topic, partition => Partition, reason => Reason
    }),
    logger:notice("crema consumer ~0p: the handler of ~ts [~b] stops it", [Name, Topic, Partition]).

%% @doc Messages from an offset on were acknowledged without having been handled.
-spec skipped(place(), {Offset :: integer(), Count :: pos_integer()}, Reason :: term(), about()) -> ok.
skipped({Topic, Partition}, {Offset, Count}, Reason, {Metadata, _}) ->
    crema_events:execute([crema, consumer, skipped], #{count => Count}, Metadata#{
        topic => Topic, partition => Partition, offset => Offset, reason => Reason
    }).

%% @doc A handler wants nothing more of its partition for so long.
-spec paused(place(), Millis :: non_neg_integer(), about()) -> ok.
paused({Topic, Partition}, Millis, {Metadata, _}) ->
    crema_events:execute([crema, consumer, handler_paused], #{delay => Millis}, Metadata#{
        topic => Topic, partition => Partition
    }).

-spec crash(term()) -> {error | exit | throw, term(), list()}.
crash({shutdown, {handler, Class, Reason, Stack}}) -> {Class, Reason, Stack};
crash(Reason) -> {exit, Reason, []}.

%% @doc A handler returned an error, and is called again.
-spec handler_error(place(), integer(), map(), about()) -> ok.
handler_error({Topic, Partition}, Offset, Report, {Metadata, _}) ->
    Measured = maps:with([attempt, delay], Report),
    crema_events:execute([crema, consumer, handler_error], Measured, Metadata#{
        topic => Topic, partition => Partition, offset => Offset, reason => maps:get(reason, Report)
    }).

-spec tell(crema_events:event_name(), map(), [place()], about()) -> ok.
tell(Name, Measured, Places, {Metadata, _}) ->
    crema_events:execute(Name, Measured, Metadata#{partitions => Places}).
