%% @private Messages as a shell has them: of lines, of objects of JSON, and back.
-module(crema_cli_message).

-export([of_line/2, of_json/2, as_text/2, as_json/1, time/1]).

-type options() :: map().

-define(FIELDS, [
    <<"topic">>, <<"partition">>, <<"key">>, <<"key_base64">>, <<"value">>, <<"value_base64">>,
    <<"headers">>, <<"timestamp">>,
    %% what `consume' prints and nobody can set
    <<"offset">>, <<"timestamp_type">>
]).

%% ---- to be produced ----------------------------------------------------------------

%% @doc The message of a line, or what is wrong with it.
-spec of_line(binary(), options()) -> {ok, crema:message()} | {error, iodata()}.
of_line(Line, #{separator := Separator} = Options) ->
    case binary:split(Line, Separator) of
        [Key, Value] -> {ok, with_value(Value, (base(Options))#{key => null(Key, Options)}, Options)};
        [_] -> {error, "has no key: the separator is not in it"}
    end;
of_line(Line, Options) ->
    {ok, with_value(Line, base(Options), Options)}.

-spec base(options()) -> map().
base(Options) ->
    maps:with([topic, partition, key, headers], Options).

-spec with_value(binary(), map(), options()) -> map().
with_value(Value, Message, Options) ->
    Message#{value => null(Value, Options)}.

-spec null(binary(), options()) -> binary() | undefined.
null(Null, #{null := Null}) -> undefined;
null(Bytes, _) -> Bytes.

%% @doc The message of an object of JSON, or what is wrong with it. What the options
%% say goes before it.
-spec of_json(binary(), options()) -> {ok, crema:message()} | {error, iodata()}.
of_json(Line, Options) ->
    case crema_json:decode(Line) of
        {ok, #{} = Object} ->
            try
                {ok, maps:merge(of_object(Object), base(Options))}
            catch
                throw:{wrong, Why} -> {error, Why}
            end;
        {ok, _} ->
            {error, "is no object of JSON"};
        {error, _} ->
            {error, "is no JSON"}
    end.

-spec of_object(map()) -> map().
of_object(Object) ->
    case maps:keys(maps:without(?FIELDS, Object)) of
        [] -> ok;
        [Unknown | _] -> wrong(["has an unknown field: ", Unknown])
    end,
    is_map_key(<<"value">>, Object) orelse is_map_key(<<"value_base64">>, Object) orelse
        wrong("has no value (null is one)"),
    Fields = [
        {topic, <<"topic">>, fun is_binary/1, "a text"},
        {partition, <<"partition">>, fun is_integer/1, "a number"},
        {timestamp, <<"timestamp">>, fun is_integer/1, "milliseconds since 1970"}
    ],
    Plain = [
        {Field, checked(Name, maps:get(Name, Object), Is, What)}
     || {Field, Name, Is, What} <- Fields, is_map_key(Name, Object)
    ],
    (maps:from_list(Plain))#{
        key => part(<<"key">>, Object),
        value => part(<<"value">>, Object),
        headers => headers(maps:get(<<"headers">>, Object, []))
    }.

-spec checked(binary(), term(), fun((term()) -> boolean()), string()) -> term().
checked(Name, Value, Is, What) ->
    case Is(Value) of
        true -> Value;
        false -> wrong([Name, " is not ", What])
    end.

%% Bytes, or text; what is neither is written as JSON again.
-spec part(binary(), map()) -> binary() | undefined.
part(Name, Object) ->
    case {Object, <<Name/binary, "_base64">>} of
        {#{Name := _}, Base64} when is_map_key(Base64, Object) ->
            wrong(["has ", Name, " twice"]);
        {#{Name := null}, _} -> undefined;
        {#{Name := Text}, _} when is_binary(Text) -> Text;
        {#{Name := Other}, _} -> encoded(Other);
        {_, Base64} when is_map_key(Base64, Object) ->
            try
                base64:decode(map_get(Base64, Object))
            catch
                error:_ -> wrong([Base64, " is no base64"])
            end;
        {_, _} -> undefined
    end.

-spec encoded(term()) -> binary().
encoded(Term) ->
    {ok, Text} = crema_json:encode(Term),
    iolist_to_binary(Text).

-spec headers(term()) -> [{binary(), binary() | undefined}].
headers(#{} = Object) ->
    [{Name, header_value(#{<<"value">> => Value})} || {Name, Value} <- maps:to_list(Object)];
headers(List) when is_list(List) ->
    [header(Each) || Each <- List];
headers(null) ->
    [];
headers(_) ->
    wrong("headers are an object, or a list of objects of name and value").

-spec header(term()) -> {binary(), binary() | undefined}.
header(#{} = Header) ->
    case part(<<"name">>, Header) of
        Name when is_binary(Name) -> {Name, header_value(Header)};
        undefined -> wrong("has a header without a name")
    end;
header(_) ->
    wrong("has a header that is no object of name and value").

-spec header_value(map()) -> binary() | undefined.
header_value(Header) -> part(<<"value">>, Header).

-spec wrong(iodata()) -> no_return().
wrong(Why) -> throw({wrong, Why}).

%% ---- consumed ----------------------------------------------------------------------

%% @doc As text, with what the options ask for before the value.
-spec as_text(crema_reader:message(), options()) -> iodata().
as_text(#{key := Key, value := Value} = Message, Options) ->
    #{delimiter := Delimiter, null := Null} = Options,
    [
        [[place(Message), $\t] || maps:get(places, Options, false)],
        [[named(Message), $\t] || maps:get(headers, Options, false)],
        [[shown(Key, Null), Separator] || {ok, Separator} <- [maps:find(separator, Options)]],
        shown(Value, Null),
        Delimiter
    ].

-spec shown(binary() | undefined, binary()) -> binary().
shown(undefined, Null) -> Null;
shown(Bytes, _) -> Bytes.

-spec place(map()) -> iodata().
place(#{topic := Topic, partition := Partition, offset := Offset, timestamp := Timestamp}) ->
    [time(Timestamp), $\s, Topic, $\s, integer_to_list(Partition), $:, integer_to_list(Offset)].

%% @doc A time as people read it.
-spec time(integer()) -> string().
time(Timestamp) when Timestamp < 0 -> "-";
time(Timestamp) ->
    calendar:system_time_to_rfc3339(Timestamp, [{unit, millisecond}, {offset, "Z"}]).

-spec named(map()) -> iodata().
named(#{headers := []}) ->
    "-";
named(#{headers := Headers}) ->
    lists:join($,, [[Name, $=, shown(Value, <<>>)] || {Name, Value} <- Headers]).

%% @doc An object of JSON, which `produce' reads.
-spec as_json(crema_reader:message()) -> iodata().
as_json(#{key := Key, value := Value, headers := Headers} = Message) ->
    #{topic := Topic, partition := Partition, offset := Offset, timestamp := Time} = Message,
    [
        ["{\"topic\":", encoded(Topic)],
        [",\"partition\":", integer_to_list(Partition)],
        [",\"offset\":", integer_to_list(Offset)],
        [[",\"timestamp\":", integer_to_list(Time)] || Time >= 0],
        [$,, field("key", Key)],
        [
            [",\"headers\":[", lists:join($,, [header_json(Header) || Header <- Headers]), $]]
         || Headers =/= []
        ],
        [$,, field("value", Value)],
        "}\n"
    ].

-spec header_json({binary(), binary() | undefined}) -> iodata().
header_json({Name, Value}) ->
    [${, field("name", Name), $,, field("value", Value), $}].

-spec field(string(), binary() | undefined) -> iodata().
field(Name, undefined) ->
    [$", Name, "\":null"];
field(Name, Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Bytes -> [$", Name, "\":", encoded(Bytes)];
        _ -> [$", Name, "_base64\":\"", base64:encode(Bytes), $"]
    end.
