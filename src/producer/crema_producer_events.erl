%% @private The events of produce calls and of delivery reports. They are on the
%% hot path, so a producer has them by its option `events' only, and a call finds
%% that among the settings that it has in hand anyway ({@link crema_target}).
-module(crema_producer_events).

-export([limits/1, settings/2, call/4, reports/2, flush/2, purge/2]).

-export_type([metadata/0]).

-type metadata() :: #{client := pid(), name := term()}.

%% @doc What the driver must know of a producer's parsed options.
-spec limits(map()) -> [{binary(), pos_integer()}].
limits(#{events := Events, max_event_reports := Most}) ->
    Listed = [{<<"tally_listed">>, Most} || Most > 0],
    case lists:member(reports, Events) of
        true -> [{<<"tally">>, 1} | Listed];
        false -> []
    end.

%% @doc What calls must know of them: `metadata', and, when they are to tell of
%% themselves, `call_events'.
-spec settings(metadata(), map()) -> #{metadata := metadata(), call_events => true}.
settings(Metadata, #{events := Events}) ->
    case lists:member(calls, Events) of
        true -> #{metadata => Metadata, call_events => true};
        false -> #{metadata => Metadata}
    end.

%% @doc Makes a call and tells of it.
-spec call(sync | async, crema_target:settings(), {one | many, term()}, fun(() -> Result)) ->
    Result.
call(Kind, #{metadata := Metadata}, {_, Messages}, Call) ->
    Start = erlang:monotonic_time(),
    Result = Call(),
    Time = erlang:convert_time_unit(erlang:monotonic_time() - Start, native, microsecond),
    Known = proper(Messages),
    {Name, Failed, Problem} = outcome(Result, length(Known)),
    case crema_events:listening(Name) of
        true ->
            Measurements = #{count => length(Known), failed => Failed, duration => Time},
            About = Metadata#{call => Kind, topics => topics(Known), messages => Known},
            crema_events:execute(Name, Measurements, maps:merge(About, Problem));
        false ->
            ok
    end,
    Result.

-spec outcome(term(), non_neg_integer()) ->
    {crema_events:event_name(), Failed :: non_neg_integer(), Problem :: map()}.
outcome({error, Reason}, Count) ->
    Problem = maps:with([code, message], crema_client:problem(Reason)),
    {[crema, producer, produce_failed], Count, Problem};
outcome({ok, Results}, _Count) when is_list(Results) ->
    {[crema, producer, produced], length([Error || {error, Error} <- Results]), #{}};
outcome(_, _Count) ->
    {[crema, producer, produced], 0, #{}}.

%% What a call was refused for may be its messages.
-spec proper(term()) -> [term()].
proper(Messages) ->
    case crema_input:is_proper(Messages) of
        true -> Messages;
        false -> []
    end.

-spec topics([term()]) -> #{binary() => pos_integer()}.
topics(Messages) ->
    Topics = [crema_input:text(Topic) || #{topic := Topic} <- Messages],
    lists:foldl(
        fun(Topic, Counts) -> maps:update_with(Topic, fun(N) -> N + 1 end, 1, Counts) end,
        #{},
        [Topic || {ok, Topic} <- Topics]
    ).

%% @doc Tells of the delivery reports that the driver tells of.
-spec reports({reports, non_neg_integer(), list(), non_neg_integer(), binary()}, metadata()) -> ok.
reports({reports, Acknowledged, Failures, Unlisted, Listed}, Metadata) ->
    Name = [crema, producer, reported],
    case crema_events:listening(Name) of
        true ->
            Codes = maps:from_list([{Error, code(Error)} || {Error, _} <- Failures]),
            Counts = maps:from_list([{maps:get(E, Codes), Count} || {E, Count} <- Failures]),
            Purged = maps:with([purge_queue, purge_inflight], Counts),
            crema_events:execute(
                Name,
                #{
                    acknowledged => Acknowledged,
                    failed => sum(Counts) - sum(Purged),
                    purged => sum(Purged),
                    unlisted => Unlisted
                },
                Metadata#{
                    failures => Counts,
                    reports => [report(R, Codes) || R <- crema_packet:listed_reports(Listed)]
                }
            );
        false ->
            ok
    end.

-spec code(integer()) -> crema_error:code().
code(Error) ->
    {error, {Code, _}} = crema_anchor:error_of(Error, #{}),
    Code.

-spec sum(#{atom() => non_neg_integer()}) -> non_neg_integer().
sum(Counts) -> lists:sum(maps:values(Counts)).

-spec report({integer(), byte(), binary(), integer(), integer()}, #{integer() => atom()}) -> map().
report({0, _Status, Topic, Partition, Offset}, _Codes) ->
    #{topic => Topic, partition => Partition, offset => Offset};
report({Error, Status, Topic, Partition, _Offset}, Codes) ->
    #{
        topic => Topic,
        partition => Partition,
        code => maps:get(Error, Codes, unknown),
        status => crema_report:status(Status)
    }.

%% @doc Makes a flush and tells of it.
-spec flush(crema_target:settings(), fun(() -> Result)) -> Result.
flush(Settings, Flush) ->
    Start = erlang:monotonic_time(millisecond),
    Result = Flush(),
    Time = erlang:monotonic_time(millisecond) - Start,
    ended([crema, producer, flushed], #{duration => Time}, Settings, Result).

%% @doc Makes a purge and tells of it.
-spec purge(crema_target:settings(), fun(() -> Result)) -> Result.
purge(Settings, Purge) ->
    ended([crema, producer, purged], #{}, Settings, Purge()).

%% Where there is no client there is nothing to tell.
-spec ended(crema_events:event_name(), map(), crema_target:settings(), Result) -> Result.
ended(Name, Measurements, #{metadata := Metadata}, Result) ->
    Outcome =
        case Result of
            {error, {Code, _}} -> Code;
            _ -> ok
        end,
    ok = crema_events:execute(Name, Measurements, Metadata#{result => Outcome}),
    Result;
ended(_Name, _Measurements, _Settings, Result) ->
    Result.
