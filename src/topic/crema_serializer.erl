%% @doc From terms to bytes and back: the behaviour of serializers, and the three
%% that crema has.
%%
%% `raw' takes iodata as it is. `term' is Erlang's external term format; reading
%% it back makes no atoms and no functions that this node does not know. `json'
%% is JSON: objects are maps with binary keys (atoms and numbers are written as keys too),
%% strings UTF-8 binaries, `true', `false' and `null' atoms; `undefined' and `nil' are written
%% as null, any other atom as a string. Others are a module of this behaviour or `{Module,
%% Args}' (a module alone has `[]').
-module(crema_serializer).

-export([serialize/2, deserialize/2, read/2]).

-export_type([serializer/0]).

-type serializer() :: raw | term | json | module() | {module(), Args :: term()}.

-callback serialize(Term :: term(), Args :: term()) -> {ok, iodata()} | {error, Reason :: term()}.

-callback deserialize(Bytes :: binary(), Args :: term()) ->
    {ok, Term :: term()} | {error, Reason :: term()}.

%% @doc A term as bytes.
-spec serialize(serializer(), term()) -> {ok, iodata()} | {error, Reason :: term()}.
serialize(raw, Bytes) when is_binary(Bytes); is_list(Bytes) -> {ok, Bytes};
serialize(raw, _) -> {error, not_iodata};
serialize(term, Term) -> {ok, term_to_binary(Term)};
serialize(json, Term) -> crema_json:encode(Term);
serialize({Module, Args}, Term) -> Module:serialize(Term, Args);
serialize(Module, Term) -> Module:serialize(Term, []).

%% @doc The term that bytes stand for.
-spec deserialize(serializer(), binary()) -> {ok, term()} | {error, Reason :: term()}.
deserialize(raw, Bytes) ->
    {ok, Bytes};
deserialize(term, Bytes) ->
    try
        {ok, binary_to_term(Bytes, [safe])}
    catch
        error:badarg -> {error, not_a_term}
    end;
deserialize(json, Bytes) ->
    crema_json:decode(Bytes);
deserialize({Module, Args}, Bytes) ->
    Module:deserialize(Bytes, Args);
deserialize(Module, Bytes) ->
    Module:deserialize(Bytes, []).

%% @doc Metadata and data of a consumed message, as a topic handle with that
%% serializer produced it: one without the header `metadata' has its value as
%% metadata, and no data. Null is `undefined'.
-spec read(serializer(), crema_consumer:message()) ->
    {ok, Metadata :: term(), Data :: binary() | undefined} | {error, Reason :: term()}.
read(Serializer, #{headers := Headers, value := Value}) ->
    case lists:keyfind(<<"metadata">>, 1, Headers) of
        {_, Bytes} -> read(Serializer, Bytes, null(Value));
        false -> read(Serializer, null(Value), undefined)
    end.

-spec read(serializer(), binary() | undefined, binary() | undefined) ->
    {ok, term(), binary() | undefined} | {error, term()}.
read(_Serializer, undefined, Data) ->
    {ok, undefined, Data};
read(Serializer, Bytes, Data) ->
    case deserialize(Serializer, Bytes) of
        {ok, Metadata} -> {ok, Metadata, Data};
        {error, _} = Error -> Error
    end.

-spec null(binary() | undefined | nil) -> binary() | undefined.
null(nil) -> undefined;
null(Value) -> Value.
