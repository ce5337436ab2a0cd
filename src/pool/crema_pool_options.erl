%% @private The options of a pool: its own, and those of its producers.
-module(crema_pool_options).

-export([parse/1]).

-export_type([parsed/0]).

-type parsed() :: #{
    name := term(),
    size := pos_integer(),
    checkout_timeout := timeout(),
    %% The parsed options of the member of that number.
    producer := fun((Index :: pos_integer()) -> map()),
    atom() => term()
}.

-define(ID, <<"transactional.id">>).

%% @doc Checks them all: every member's are as good as it can be told now.
-spec parse(Options :: map() | list()) -> {ok, parsed()} | {error, crema_error:reason()}.
parse(Options) ->
    case crema_input:pairs(Options) of
        {ok, Pairs, []} ->
            Given = maps:from_list(Pairs),
            case crema_options:parse(pool, maps:with(own(), Given)) of
                {ok, Pool} -> with_members(Pool, maps:without(own(), Given));
                {error, _} = Error -> Error
            end;
        _ ->
            crema_options:parse(pool, Options)
    end.

-spec own() -> [atom()].
own() ->
    [
        Name
     || #{name := Name, scope := Scopes} <- crema_options:table(), lists:member(pool, Scopes)
    ].

-spec with_members(map(), map()) -> {ok, parsed()} | {error, crema_error:reason()}.
with_members(#{size := Size} = Pool, Common) ->
    Members = [member(Index, Pool, Common) || Index <- lists:seq(1, Size)],
    case [Error || {error, _} = Error <- Members] of
        [] ->
            Parsed = list_to_tuple([Member || {ok, Member} <- Members]),
            {ok, Pool#{producer := fun(Index) -> element(Index, Parsed) end}};
        [Error | _] ->
            Error
    end.

-spec member(pos_integer(), map(), map()) -> {ok, map()} | {error, crema_error:reason()}.
member(Index, #{producer := undefined}, Common) ->
    numbered(Index, crema_settings:parse(producer, unnamed(Common)));
member(Index, #{producer := Function}, Common) ->
    case crema_input:pairs(crema_callbacks:call(Function, Index)) of
        {ok, Pairs, []} ->
            Own = maps:from_list(Pairs),
            Parsed = crema_settings:parse(producer, maps:merge(unnamed(Common), Own)),
            case Own of
                #{kafka := _} -> Parsed;
                #{} -> numbered(Index, Parsed)
            end;
        _ ->
            Text = io_lib:format("producer gave no options for member ~b of the pool", [Index]),
            crema_error:make(bad_options, Text, #{field => producer})
    end.

%% Not by the name of all producers either.
-spec unnamed(map()) -> map().
unnamed(Common) -> Common#{name => undefined}.

%% Two producers of one transactional.id would fence each other.
-spec numbered(pos_integer(), {ok, map()} | {error, crema_error:reason()}) ->
    {ok, map()} | {error, crema_error:reason()}.
numbered(Index, {ok, #{kafka := #{?ID := Id} = Kafka, sources := Sources} = Parsed}) ->
    case crema_secret:reveal(Id) of
        {ok, Text} ->
            Own = <<Text/binary, $-, (integer_to_binary(Index))/binary>>,
            {ok, Parsed#{kafka := Kafka#{?ID := Own}, sources := Sources#{{kafka, ?ID} => option}}};
        {error, _} ->
            crema_error:make(bad_options, "transactional.id is a function that gives no text", #{})
    end;
numbered(_Index, Other) ->
    Other.
