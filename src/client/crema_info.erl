%% @private What a client says of itself: see `crema:info/1'.
-module(crema_info).

-include("../port/crema_commands.hrl").

-export([driver/0, client/1, status/1, statistics/1]).

%% @doc See `crema:info/0'.
-spec driver() -> map().
driver() ->
    case crema_anchor:runtime() of
        {ok, Runtime} ->
            #{librdkafka_number := Number, features := Features, bundled := Bundled} =
                Known = maps:from_list(Runtime),
            Known#{
                features := binary:split(Features, <<",">>, [global, trim_all]),
                bundled := Bundled =:= 1,
                limits => crema_limits:of_release(Number)
            };
        {error, _} = Error ->
            #{error => Error}
    end.

-spec client(crema_registry:ref()) -> map().
client(Client) ->
    case crema_registry:lookup(Client) of
        {ok, Kind, Port, _, _} ->
            Counts = maps:merge(crema_client:counts(Port), partitions(Kind, Port)),
            maps:merge(status(Client), Counts);
        not_started ->
            crema_pool:info(Client)
    end.

-spec partitions(crema_registry:kind(), port() | none) -> map().
partitions(Kind, Port) when Kind =:= consumer; Kind =:= reader ->
    case crema_port:command(Port, ?CMD_SLOTS, <<>>) of
        {ok, Slots} ->
            #{
                partitions => [
                    #{
                        topic => Topic,
                        partition => Partition,
                        delivered => Delivered,
                        stored => Stored,
                        unacknowledged => Unacked,
                        acknowledged => Acknowledged,
                        high => known(High),
                        lag => lag(High, Stored),
                        handler => Handler,
                        prefetched => Waiting,
                        fetching => Fetches,
                        waiting_for => Since,
                        state => state(Handler, Credit, Room)
                    }
                 || {_, Topic, Partition, Delivered, Stored, Unacked, Handler, Acknowledged, High,
                        Waiting, Fetches, Since, Credit, Room} <- Slots
                ]
            };
        {error, _} ->
            #{}
    end;
partitions(_, _) ->
    #{}.

%% What a partition does, as far as the driver knows.
-spec state(boolean(), non_neg_integer(), non_neg_integer()) ->
    no_handler | max_in_flight | handling | ready.
state(false, _, _) -> no_handler;
state(true, _, 0) -> max_in_flight;
state(true, 0, _) -> handling;
state(true, _, _) -> ready.

%% Behind the last message that a fetch knew of.
-spec known(integer()) -> non_neg_integer() | undefined.
known(High) when High >= 0 -> High;
known(_) -> undefined.

-spec lag(integer(), non_neg_integer()) -> non_neg_integer() | undefined.
lag(High, Stored) when High >= 0 -> max(0, High - Stored);
lag(_, _) -> undefined.

%% @doc See `crema:status/1'.
-spec status(crema_registry:ref()) -> map().
status(Client) ->
    case crema_registry:status(Client) of
        {ok, #{kind := consumer} = Status} -> with_lag(Client, Status);
        {ok, Status} -> Status;
        not_started -> crema_pool:status(Client)
    end.

-spec with_lag(crema_registry:ref(), map()) -> map().
with_lag(Client, Status) ->
    case crema_registry:lookup(Client) of
        {ok, consumer, Port, _, _} ->
            Lags = [Lag || #{lag := Lag} <- maps:get(partitions, partitions(consumer, Port), [])],
            case lists:member(undefined, Lags) of
                true -> Status#{lag => undefined};
                false -> Status#{lag => lists:sum(Lags)}
            end;
        _ ->
            Status
    end.

%% @doc See `crema:statistics/1'.
-spec statistics(crema_registry:ref()) ->
    {ok, crema_statistics:statistics()} | crema_error:error().
statistics(Client) ->
    case crema_registry:lookup(Client) of
        {ok, Kind, _, _, Owner} when Kind =:= producer; Kind =:= consumer ->
            try
                gen_server:call(Owner, statistics, infinity)
            catch
                exit:_ -> crema_registry:missing(client, Client)
            end;
        {ok, _, _, _, _} ->
            crema_registry:missing(producer, Client);
        not_started ->
            crema_registry:missing(client, Client)
    end.
