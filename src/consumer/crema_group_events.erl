%% @private What a member of a group tells of its partitions: events and log lines.
-module(crema_group_events).

-export([about/2, assigned/2, revoked/3, released/4, lost/2, prefetch_short/3]).
-export([commit_failed/3, offset_reset/4, sought/3]).
-export([remedy/2, handler_stuck/4, exhausted/3, handler_stopped/3, callback_crashed/4]).
-export([skipped/4, paused/3]).

-export_type([about/0, place/0]).

-type place() :: {Topic :: binary(), Partition :: non_neg_integer()}.
%% Who tells: what all events say, and the name in the log.
-opaque about() :: {map(), term()}.

%% @doc Of a consumer whose group's member is the caller, with these parsed options.
-spec about(crema_client:client(), map()) -> about().
about(Client, #{group := Group, name := Name}) ->
    Shown =
        case Name of
            undefined -> Group;
            _ -> crema_child:shown_name(Name)
        end,
    {(crema_client:metadata(Client))#{group => Group}, Shown}.

-spec assigned([place()], about()) -> ok.
assigned(Places, About) ->
    tell([crema, consumer, assigned], #{count => length(Places)}, Places, About).

%% @doc They were drained, which took from then until now.
-spec revoked([place()], Began :: integer(), about()) -> ok.
revoked(Places, Began, About) ->
    Measured = #{count => length(Places), duration => crema_deadline:now() - Began},
    tell([crema, consumer, revoked], Measured, Places, About).

%% @doc They were given back, after a commit.
-spec released(Committed, [place()], Began :: integer(), about()) -> ok when
    Committed :: ok | lost | crema_error:error().
released(lost, Places, _Began, About) ->
    lost(Places, About);
released(ok, Places, Began, About) ->
    revoked(Places, Began, About);
released({error, Reason}, Places, Began, About) ->
    ok = revoked(Places, Began, About),
    commit_failed(Reason, Places, About).

-spec lost([place()], about()) -> ok.
lost(Places, About) ->
    tell([crema, consumer, lost], #{count => length(Places)}, Places, About).

%% @doc So many partitions share a limit that is made for so many.
-spec prefetch_short(non_neg_integer(), pos_integer(), about()) -> ok.
prefetch_short(Count, Room, {Metadata, Name}) ->
    crema_events:execute(
        [crema, consumer, prefetch_short], #{count => Count, room => Room}, Metadata
    ),
    crema_log:log(
        warning,
        "crema consumer ~0p: ~b partitions share a prefetch that is made for ~b: the limit "
        "holds, but messages are fetched repeatedly; raise prefetch, or lower "
        "max.partition.fetch.bytes",
        [Name, Count, Room],
        #{client => Name}
    ).

-spec commit_failed(crema_error:reason(), [place()], about()) -> ok.
commit_failed({Code, Details} = Reason, Places, {Metadata, Name}) ->
    All = Metadata#{code => Code, message => maps:get(message, Details, <<>>)},
    tell([crema, consumer, commit_failed], #{count => length(Places)}, Places, {All, Name}),
    Text = crema_error:format(Reason),
    crema_log:log(commit_level(Code), "crema consumer ~0p: a commit failed: ~ts", [Name, Text], #{
        client => Name, code => Code
    }).

%% While brokers are away each attempt fails, and that they are away is told.
-spec commit_level(crema_error:code()) -> logger:level().
commit_level(Code) when
    Code =:= wait_coord;
    Code =:= transport;
    Code =:= timed_out;
    Code =:= coordinator_not_available;
    Code =:= coordinator_load_in_progress;
    Code =:= not_coordinator
->
    info;
commit_level(_) ->
    warning.

-spec offset_reset(place(), {From :: integer(), To :: integer()}, atom(), about()) -> ok.
offset_reset({Topic, Partition}, {From, To}, Policy, {Metadata, Name}) ->
    crema_events:execute([crema, consumer, offset_reset], #{from => From, to => To}, Metadata#{
        topic => Topic, partition => Partition, offset => From, policy => Policy
    }),
    crema_log:log(
        warning,
        "crema consumer ~0p: ~ts [~b]: offset ~b is no longer in the log, continuing at ~b",
        [Name, Topic, Partition, From, To],
        #{client => Name, topic => Topic, partition => Partition, offset => From}
    ).

-spec sought(place(), {From :: integer(), To :: integer()}, about()) -> ok.
sought({Topic, Partition}, {From, To}, {Metadata, _}) ->
    crema_events:execute([crema, consumer, sought], #{from => From, to => To}, Metadata#{
        topic => Topic, partition => Partition
    }).

%% @doc What {@link crema_remedy} tells: a failure and what follows, or what became
%% of messages that are sent on.
-spec remedy(Report, about()) -> ok when
    Report ::
        {failed, crema_failure:failure(), crema_remedy:action(), Delay :: non_neg_integer()}
        | {sent, crema_failure:failure(), dead_letter | retry_topic, To :: binary(), Count}
        | {not_sent, crema_failure:failure(), To :: binary(), crema_error:reason(), Failures, Delay},
    Count :: pos_integer(),
    Failures :: pos_integer(),
    Delay :: non_neg_integer().
remedy({failed, #{attempts := Attempts} = Failure, Action, Delay}, {Metadata, _} = About) ->
    Measured = #{attempt => Attempts, delay => Delay},
    All = maps:merge((place(Failure, Metadata))#{action => Action}, cause(Failure)),
    crema_events:execute(failed(Failure), Measured, All),
    log(Failure, Action, Delay, About);
remedy({sent, Failure, Action, To, Count}, {Metadata, _}) ->
    crema_events:execute([crema, consumer, sent_on], #{count => Count}, (place(Failure, Metadata))#{
        action => Action, to => To, reason => maps:get(reason, Failure)
    });
remedy({not_sent, Failure, To, {Code, Details} = Reason, Failures, Delay}, {Metadata, Name}) ->
    #{topic := Topic, partition := Partition} = Failure,
    Measured = #{attempt => Failures, delay => Delay},
    crema_events:execute([crema, consumer, sending_on_failed], Measured, (place(Failure, Metadata))#{
        to => To, code => Code, message => maps:get(message, Details, <<>>)
    }),
    crema_log:log(
        warning,
        "crema consumer ~0p: ~ts [~b] holds: a failed message could not be sent to ~ts: ~ts",
        [Name, Topic, Partition, To, crema_error:format(Reason)],
        (logged(Failure, Name))#{code => Code}
    ).

-spec failed(crema_failure:failure()) -> crema_events:event_name().
failed(#{kind := crash}) -> [crema, consumer, handler_crashed];
failed(#{kind := timeout}) -> [crema, consumer, handler_timeout];
failed(#{kind := returned}) -> [crema, consumer, handler_error].

-spec place(#{topic := _, partition := _, offset := _, _ => _}, map()) -> map().
place(#{topic := Topic, partition := Partition, offset := Offset}, Metadata) ->
    Place = Metadata#{topic => Topic, partition => Partition},
    case Offset of
        none -> Place;
        _ -> Place#{offset => Offset}
    end.

-spec cause(crema_failure:failure()) -> map().
cause(#{kind := timeout}) -> #{};
cause(#{kind := returned} = Failure) -> maps:with([reason], Failure);
cause(#{kind := crash} = Failure) ->
    maps:merge(#{stacktrace => []}, maps:with([class, reason, stacktrace], Failure)).

%% What a handler returned is told to who listens. What ended its process also
%% gets into the log.
-spec log(crema_failure:failure(), crema_remedy:action(), non_neg_integer(), about()) -> ok.
log(#{kind := returned}, retry, _Delay, _About) ->
    ok;
log(#{kind := returned} = Failure, Action, _Delay, {_, Name}) ->
    #{topic := Topic, partition := Partition, offset := Offset, attempts := Attempts} = Failure,
    crema_log:log(
        warning,
        "crema consumer ~0p: ~ts [~b] offset ~b failed (attempt ~b, ~ts), what follows: ~s",
        [Name, Topic, Partition, Offset, Attempts, crema_failure:text(Failure), Action],
        logged(Failure, Name)
    );
log(#{kind := Kind, topic := Topic, partition := Partition} = Failure, Action, Delay, {_, Name}) ->
    Why =
        case Failure of
            #{kind := timeout} -> "";
            #{shown := Shown} -> [":\n", Shown];
            #{class := Class, reason := Reason} -> [":\n", crema_crash:format(Class, Reason, [])]
        end,
    Did =
        case Kind of
            crash -> "crashed";
            timeout -> "took too long and was killed"
        end,
    crema_log:log(
        error,
        "crema consumer ~0p: the handler of ~ts [~b] ~s; what follows: ~s, in ~b ms~ts",
        [Name, Topic, Partition, Did, Action, Delay, Why],
        logged(Failure, Name)
    ).

-spec logged(#{topic := _, partition := _, offset := _, _ => _}, term()) -> crema_log:about().
logged(Failure, Name) ->
    (maps:with([topic, partition, offset], Failure))#{client => Name}.

%% @doc A handler takes too long, and the member leaves the group for that.
-spec handler_stuck(place(), integer() | none, pos_integer(), about()) -> ok.
handler_stuck({Topic, Partition}, Offset, Limit, {Metadata, Name}) ->
    Failure = #{topic => Topic, partition => Partition, offset => Offset},
    crema_events:execute(
        [crema, consumer, handler_stuck], #{limit => Limit}, place(Failure, Metadata)
    ),
    crema_log:log(
        error,
        "crema consumer ~0p: the handler of ~ts [~b] has taken ~b ms: the member leaves the group",
        [Name, Topic, Partition, Limit],
        logged(Failure, Name)
    ).

%% @doc A partition's worker was started again too often.
-spec exhausted(place(), crema_remedy:action(), about()) -> ok.
exhausted({Topic, Partition}, Action, {Metadata, Name}) ->
    crema_events:execute([crema, consumer, restarts_exhausted], #{}, Metadata#{
        topic => Topic, partition => Partition, action => Action
    }),
    crema_log:log(
        error,
        "crema consumer ~0p: the handler of ~ts [~b] has ended too often; what follows: ~s",
        [Name, Topic, Partition, Action],
        #{client => Name, topic => Topic, partition => Partition}
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
    crema_log:log(
        error,
        "crema consumer ~0p: ~s of the handler of ~ts [~b] crashed:~n~ts",
        [Name, Callback, Topic, Partition, crema_crash:format(Class, Reason, Stack)],
        #{client => Name, topic => Topic, partition => Partition}
    ).

%% @doc A handler wants its consumer to stop.
-spec handler_stopped(place(), Reason :: term(), about()) -> ok.
handler_stopped({Topic, Partition}, Reason, {Metadata, Name}) ->
    crema_events:execute([crema, consumer, handler_stopped], #{}, Metadata#{
        topic => Topic, partition => Partition, reason => Reason
    }),
    crema_log:log(
        notice,
        "crema consumer ~0p: the handler of ~ts [~b] stops it",
        [Name, Topic, Partition],
        #{client => Name, topic => Topic, partition => Partition}
    ).

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

-spec tell(crema_events:event_name(), map(), [place()], about()) -> ok.
tell(Name, Measured, Places, {Metadata, _}) ->
    crema_events:execute(Name, Measured, Metadata#{partitions => Places}).
