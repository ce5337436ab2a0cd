%% @private What follows from a consumer's option `prefetch' for librdkafka: how
%% much it may fetch at once. The limit itself is kept by the core; these are for
%% what it cannot see, since it is on its way.
-module(crema_prefetch).

-export([rows/0, rules/1, properties/1, room/1]).

-define(DEFAULT, 67108864).
%% A response may be a megabyte, whatever the limit.
-define(MIN, 8388608).
-define(MAX, 16#FFFFFFFFFFFF).
-define(MEGABYTE, 1000000).

-spec rows() -> [crema_options:row()].
rows() ->
    [
        #{
            name => prefetch,
            scope => [consumer],
            type => {integer, ?MIN, ?MAX},
            default => ?DEFAULT,
            unit => bytes,
            doc =>
                <<"memory that fetched messages may take, of all partitions together, until they "
                    "are acknowledged">>
        }
    ].

%% @doc librdkafka's properties, unless the user gave them.
%%
%% A response holds at most `fetch.max.bytes' of what several partitions have, and
%% of each at most `max.partition.fetch.bytes' (or one batch of the producer's, if
%% that is larger). The two of its queue only matter while nobody empties it; it
%% must not be full before, for 2.0.2 then fetches nothing for up to a second.
-spec properties(map()) -> [{binary(), binary()}].
properties(#{kafka := User} = Parsed) ->
    Limit = maps:get(prefetch, Parsed, ?DEFAULT),
    [
        {<<"max.partition.fetch.bytes">>, integer_to_binary(fetch(Limit, User))},
        {<<"fetch.max.bytes">>, integer_to_binary(response(Limit, User))},
        {<<"queued.max.messages.kbytes">>, integer_to_binary(Limit div 8 div 1024)},
        {<<"queued.min.messages">>, <<"1000000">>}
    ].

-spec fetch(pos_integer(), crema_properties:properties()) -> pos_integer().
fetch(Limit, User) ->
    Derived = between(65536, Limit div 256, 1048576),
    case crema_properties:integer(<<"max.partition.fetch.bytes">>, User, Derived) of
        Given when is_integer(Given), Given > 0 -> Given;
        _ -> Derived
    end.

%% librdkafka refuses one that is smaller than a message may be.
-spec response(pos_integer(), crema_properties:properties()) -> pos_integer().
response(Limit, User) ->
    Message =
        case crema_properties:integer(<<"message.max.bytes">>, User, ?MEGABYTE) of
            Given when is_integer(Given), Given > 0 -> Given;
            _ -> ?MEGABYTE
        end,
    max(Message, between(?MEGABYTE, Limit div 32, 52428800)).

-spec between(integer(), integer(), integer()) -> integer().
between(Min, Value, Max) -> max(Min, min(Value, Max)).

%% @doc The partitions of which each has room for a fetch, within the limit.
-spec room(map()) -> pos_integer().
room(#{prefetch := Limit, kafka := User}) ->
    max(1, Limit div fetch(Limit, User)).

%% @doc What the user set that librdkafka may hold beside the limit.
-spec rules(map()) -> [{warning, iodata()}].
rules(#{prefetch := Limit, kafka := User}) ->
    [
        {warning, io_lib:format("~s is ~b: librdkafka may hold more than prefetch (~b bytes) "
            "leaves for what is on its way; lower it, or raise prefetch", [Name, Given, Limit])}
     || {Name, Unit, Part} <- [
            {<<"max.partition.fetch.bytes">>, 1, 16},
            {<<"fetch.max.bytes">>, 1, 8},
            {<<"queued.max.messages.kbytes">>, 1024, 8}
        ],
        Given <- [crema_properties:integer(Name, User, 0)],
        is_integer(Given),
        Given * Unit > max(1048576, Limit div Part)
    ];
rules(_) ->
    [].
