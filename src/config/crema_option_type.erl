%% @private The types of crema's own options: each checks a value, brings it into
%% the one form the rest of crema reads, and describes itself.
-module(crema_option_type).

-export([check/2, describe/1, shown/1]).

-export_type([type/0]).

-type type() ::
    name
    | text
    | topics
    | servers
    | handler
    | backoff
    | concurrency
    | topic_sizes
    | record
    | partitioner
    | topic_partitioners
    | start
    | deltas
    | timeout
    | topic_config
    | properties
    | env
    | prefix
    | codes
    | {function, Arity :: arity()}
    | middleware
    | batch
    | producer
    | token
    | crema_failure_options:type()
    %% One of the atoms, a module with that function, or a function of that arity.
    | {callback, [atom()], {Function :: atom(), arity()}, arity() | none}
    | {integer, Min :: integer(), Max :: integer()}
    | {zero_or, Min :: integer(), Max :: integer()}
    | {one_of, [atom()]}
    | {some_of, [atom()]}
    | {reader, partitions | from | to}
    %% `undefined' and `nil' are as if it were not given.
    | {optional, type()}.

-define(MAX_PARTITIONS, 10000).

%% See crema_failure_options.
-define(IS_OF_FAILURES(Type),
    (Type =:= failures orelse Type =:= dead_letter orelse Type =:= retry_topics orelse
        Type =:= max_restarts)
).

%% @doc Checks and normalises a value. `{error, Reason}' says what is expected,
%% as the end of the sentence "the option ...".
%%
%% The forms after normalisation: `name' is what `gen_server:start_link/4'
%% takes, or `undefined'; `text' and the elements of `topics' are binaries
%% that are not empty; `servers' is one binary joined with commas; `handler'
%% is a function that returns what {@link crema_handler:check/1} makes of it;
%% `topic_sizes' is a map from binary to number of partitions; `partitioner' and
%% `middleware' may be `undefined'.
%% `producer' is what {@link crema_exactly_once_options:check/1} makes of it.
%% {@link crema_failure_options} has the forms of its own.
%% `properties' is checked by {@link crema_properties:parse/2} instead, and
%% `topic_config' by {@link crema_topic_config:parse/1}.
-spec check(type(), term()) -> {ok, term()} | {error, Reason :: binary()}.
check({optional, _}, Absent) when Absent =:= undefined; Absent =:= nil ->
    {ok, undefined};
check({optional, Type}, Value) ->
    check(Type, Value);
check({integer, Min, Max} = Type, Value) ->
    accept(is_integer(Value) andalso Value >= Min andalso Value =< Max, Type, Value);
check({zero_or, _, _}, 0) ->
    {ok, 0};
check({zero_or, Min, Max} = Type, Value) ->
    accept(is_integer(Value) andalso Value >= Min andalso Value =< Max, Type, Value);
check(env, Value) ->
    case crema_env:check(Value) of
        {ok, _} = Good -> Good;
        error -> expected(env)
    end;
check(prefix, Value) ->
    case crema_prefix:check(Value) of
        {ok, _} = Good -> Good;
        error -> expected(prefix)
    end;
check(codes, Value) ->
    accept(crema_input:is_proper(Value) andalso lists:all(fun is_atom/1, Value), codes, Value);
check({function, _}, Absent) when Absent =:= undefined; Absent =:= nil ->
    {ok, undefined};
check({function, _} = Type, {Module, Function, Args} = Value) when
    is_atom(Module), is_atom(Function)
->
    accept(crema_input:is_proper(Args), Type, Value);
check({function, Arity} = Type, Value) ->
    accept(is_function(Value, Arity), Type, Value);
check({callback, _, _, _} = Type, Value) ->
    callback(Type, Value);
check(batch, {fixed, Count} = Value) ->
    accept(is_integer(Count) andalso Count >= 1 andalso Count < 1 bsl 31, batch, Value);
check(batch, Value) ->
    accept(Value =:= adaptive orelse Value =:= none, batch, Value);
check({one_of, Atoms} = Type, Value) ->
    accept(lists:member(Value, Atoms), Type, Value);
check({some_of, Atoms} = Type, Value) ->
    Good = is_list(Value) andalso crema_input:is_proper(Value) andalso Value -- Atoms =:= [],
    accept(Good, Type, Value);
check({reader, What} = Type, Value) ->
    case crema_reader_bounds:check(What, Value) of
        {ok, _} = Good -> Good;
        error -> expected(Type)
    end;
check(backoff, {Min, Max} = Value) ->
    Good =
        is_integer(Min) andalso is_integer(Max) andalso
            Min >= 1 andalso Min =< Max andalso Max =< 16#FFFFFFFF,
    accept(Good, backoff, Value);
check(concurrency, 1) ->
    {ok, 1};
check(concurrency, {Order, Count} = Value) ->
    Good =
        lists:member(Order, [key, any]) andalso is_integer(Count) andalso
            Count >= 1 andalso Count =< 1000,
    accept(Good, concurrency, Value);
check(name, Value) ->
    name(Value);
%% A boolean in a name's place is a flag someone forgot the name of.
check(text, Value) when is_boolean(Value) ->
    expected(text);
check(text, Value) ->
    not_empty(crema_input:text(Value), text);
check(topics, Value) ->
    topics(Value);
check(servers, Absent) when Absent =:= undefined; Absent =:= nil; Absent =:= false ->
    {error, crema_input:no_value()};
check(servers, Value) ->
    servers(Value);
check(handler, Value) ->
    handler(Value);
check(topic_sizes, Value) ->
    topic_sizes(Value);
check(record, Value) when is_boolean(Value) ->
    {ok, Value};
check(record, Value) ->
    case topic_sizes(Value) of
        {ok, _} = Good -> Good;
        {error, _} -> expected(record)
    end;
check(Type, Absent) when
    Type =:= partitioner orelse Type =:= middleware, Absent =:= undefined orelse Absent =:= nil
->
    {ok, undefined};
check(partitioner, Value) ->
    case crema_partitioner:strategy(Value) of
        {ok, _} = Good -> Good;
        error -> expected(partitioner)
    end;
check(topic_partitioners, Value) ->
    topic_partitioners(Value);
check(middleware, Value) ->
    Good = crema_input:is_proper(Value) andalso lists:all(fun crema_middleware:is_middleware/1, Value),
    accept(Good, middleware, Value);
check(start, Value) when is_atom(Value) ->
    accept(lists:member(Value, [earliest, latest, error]), start, Value);
check(start, Value) ->
    accept(is_integer(Value) andalso Value >= 0 andalso Value < 1 bsl 62, start, Value);
check(deltas, Value) when Value =:= metrics; Value =:= all; Value =:= [] ->
    {ok, Value};
check(deltas, Value) when is_list(Value) ->
    case texts(Value) of
        {ok, Fields} -> {ok, lists:uniq(Fields)};
        error -> expected(deltas)
    end;
check(timeout, Value) ->
    accept(crema_call:is_timeout(Value), timeout, Value);
check(producer, Value) ->
    crema_exactly_once_options:check(Value);
check(token, Value) ->
    crema_sasl_options:check(Value);
check(Type, Value) when ?IS_OF_FAILURES(Type) ->
    crema_failure_options:check(Type, Value);
check(Type, _Value) ->
    expected(Type).

%% @doc Whether a wrong value of the type may be shown: not where it may hold a
%% secret (a handler's arguments, properties, a user's name in an address).
-spec shown(type()) -> boolean().
shown({function, _}) ->
    false;
shown({callback, _, _, _}) ->
    false;
shown(Type) ->
    not lists:member(Type, [
        servers, handler, properties, topic_config, middleware, producer, token, failures,
        dead_letter
    ]).

-spec accept(boolean(), type(), term()) -> {ok, term()} | {error, binary()}.
accept(true, _Type, Value) -> {ok, Value};
accept(false, Type, _Value) -> expected(Type).

-spec expected(type()) -> {error, binary()}.
expected(Type) ->
    {error, <<"must be ", (describe(Type))/binary>>}.

-spec not_empty({ok, binary()} | error, type()) -> {ok, binary()} | {error, binary()}.
not_empty({ok, Text}, _Type) when Text =/= <<>> -> {ok, Text};
not_empty(_, Type) -> expected(Type).

%% @doc What a value of the type must be, as a phrase for messages and tables.
-spec describe(type()) -> binary().
describe({optional, Type}) ->
    describe(Type);
describe({integer, Min, Max}) ->
    iolist_to_binary(io_lib:format("an integer from ~b to ~b", [Min, Max]));
describe({zero_or, Min, Max}) ->
    iolist_to_binary(["0 or ", describe({integer, Min, Max})]);
describe(env) ->
    crema_env:describe();
describe(prefix) ->
    crema_prefix:describe();
describe(codes) ->
    <<"a list of codes of errors (atoms)">>;
describe({function, Arity}) ->
    Format = "a function of arity ~b, or {Module, Function, Args}, called with Args behind",
    iolist_to_binary(io_lib:format(Format, [Arity]));
describe({one_of, Atoms}) ->
    iolist_to_binary(lists:join(" or ", [io_lib:format("~tp", [A]) || A <- Atoms]));
describe({some_of, Atoms}) ->
    iolist_to_binary(["a list of ", lists:join(" or ", [io_lib:format("~tp", [A]) || A <- Atoms])]);
describe({callback, Atoms, {Function, Arity}, FunArity}) ->
    Fun =
        case FunArity of
            none -> [];
            _ -> io_lib:format(", or a function of arity ~b", [FunArity])
        end,
    iolist_to_binary([
        [[atom_to_list(Atom), ", "] || Atom <- Atoms],
        io_lib:format("Module or {Module, Args}, the module exporting ~s/~b", [Function, Arity]),
        Fun
    ]);
describe(producer) ->
    crema_exactly_once_options:describe();
describe(token) ->
    crema_sasl_options:describe();
describe({reader, What}) ->
    crema_reader_bounds:describe(What);
describe(batch) ->
    <<"none, adaptive or {fixed, N}">>;
describe(name) ->
    <<"an atom, {local, Atom}, {global, Term} or {via, Module, Term}">>;
describe(text) ->
    <<"a text (binary, string or atom) that is not empty and holds no zero byte">>;
describe(topics) ->
    <<"a list of topic names that is not empty">>;
describe(servers) ->
    <<"\"host:port\", several of them joined with commas, or a list of them">>;
describe(handler) ->
    <<"Module or {Module, Args}, the module exporting handle_message/2 or handle_messages/2, "
        "a function of one argument, or {Module, Function}">>;
describe(backoff) ->
    <<"{Min, Max} with 1 =< Min =< Max">>;
describe(concurrency) ->
    <<"1, {key, N} or {any, N} with 1 =< N =< 1000">>;
describe(record) ->
    <<"true, false, or a map of topics and their numbers of partitions">>;
describe(topic_sizes) ->
    <<"a map from topic name to number of partitions (1 to 10000)">>;
describe(partitioner) ->
    <<"consistent_random, murmur2_random, fnv1a_random, consistent, murmur2, fnv1a, random, "
        "round_robin, md5, a function of four arguments or {Module, Function, Args}">>;
describe(topic_partitioners) ->
    <<"a map from topic name to such a partitioner">>;
describe(middleware) ->
    <<"a list of functions of one argument, {Module, Function, Args}, modules with "
        "handle_message/2 and {Module, Args}">>;
describe(start) ->
    <<"earliest, latest, error or milliseconds since 1970">>;
describe(deltas) ->
    <<"metrics, all or a list of names of fields">>;
describe(timeout) ->
    <<"an integer from 0 to 4294967295, or infinity">>;
describe(topic_config) ->
    iolist_to_binary(["a map or list of ", lists:join(", ", crema_topic_config:names())]);
describe(properties) ->
    <<"a map or list of librdkafka properties">>;
describe(Type) when ?IS_OF_FAILURES(Type) ->
    crema_failure_options:describe(Type).

-spec name(term()) -> {ok, term()} | {error, binary()}.
name(Absent) when Absent =:= undefined; Absent =:= nil -> {ok, undefined};
name(Flag) when is_boolean(Flag) -> expected(name);
name(Atom) when is_atom(Atom) -> {ok, {local, Atom}};
name({local, Atom} = Name) when is_atom(Atom), Atom =/= undefined -> {ok, Name};
name({global, _} = Name) -> {ok, Name};
name({via, Module, _} = Name) when is_atom(Module) -> {ok, Name};
name(_) -> expected(name).

%% One topic may stand alone. Kafka judges the characters of a name: which are
%% allowed depends on `^', which makes it a pattern.
-spec topics(term()) -> {ok, [binary()]} | {error, binary()}.
topics(Value) ->
    case texts(Value) of
        {ok, [_ | _] = Topics} -> {ok, lists:uniq(Topics)};
        _ -> expected(topics)
    end.

-spec texts(term()) -> {ok, [binary()]} | error.
texts([First | _] = List) when not is_integer(First) ->
    Texts = [crema_input:text(Element) || crema_input:is_proper(List), Element <- List],
    case Texts =/= [] andalso not lists:any(fun is_blank/1, Texts) of
        true -> {ok, [Text || {ok, Text} <- Texts]};
        false -> error
    end;
texts(One) ->
    case crema_input:text(One) of
        {ok, Text} when Text =/= <<>> -> {ok, [Text]};
        _ -> error
    end.

-spec is_blank({ok, binary()} | error) -> boolean().
is_blank({ok, Text}) -> Text =:= <<>>;
is_blank(error) -> true.

-spec servers(term()) -> {ok, binary()} | {error, binary()}.
servers(Value) ->
    case texts(host_and_port(Value)) of
        {ok, Texts} ->
            Split = lists:append([binary:split(T, <<",">>, [global]) || T <- Texts]),
            %% string:trim/1 would fail on bytes that are no UTF-8.
            Servers = [re:replace(S, "^\\s+|\\s+$", "", [global, {return, binary}]) || S <- Split],
            case [S || S <- Servers, not is_server(S)] of
                [] -> {ok, iolist_to_binary(lists:join($,, Servers))};
                [Bad | _] -> bad_server(Bad)
            end;
        error ->
            expected(servers)
    end.

%% Other Kafka clients of the BEAM take `[{"host", 9092}]'.
-spec host_and_port(term()) -> term().
host_and_port([First | _] = List) when not is_integer(First) ->
    [host_and_port(Element) || crema_input:is_proper(List), Element <- List];
host_and_port({Host, Port}) when is_integer(Port) ->
    case crema_input:text(Host) of
        {ok, Text} -> <<Text/binary, $:, (integer_to_binary(Port))/binary>>;
        error -> undefined
    end;
host_and_port(Other) ->
    Other.

-spec is_server(binary()) -> boolean().
is_server(Server) ->
    Pattern =
        "^(?:(?i:(?:sasl_)?(?:plaintext|ssl))://)?"
        "(?:\\[[^]\\s]+\\]|[^:/\\s\\[\\]]+|[0-9A-Fa-f:.%]*:[0-9A-Fa-f:.%]*:"
        "[0-9A-Fa-f:.%]*)(?::([0-9]{1,5}))?$",
    case re:run(Server, Pattern, [{capture, all_but_first, list}]) of
        {match, [Port]} -> list_to_integer(Port) >= 1 andalso list_to_integer(Port) =< 65535;
        {match, []} -> true;
        nomatch -> false
    end.

%% What stands before an at sign may be a user's name and password.
-spec bad_server(binary()) -> {error, binary()}.
bad_server(Bad) ->
    Part = lists:last(binary:split(Bad, <<"@">>, [global])),
    Expected = describe(servers),
    Heroku =
        case re:run(Bad, "^kafka(\\+ssl)?://", [caseless, {capture, none}]) of
            match -> <<" (env => heroku reads addresses of that form)">>;
            nomatch -> <<>>
        end,
    {error, <<
        "must be ", Expected/binary, "; this is none: ", (crema_input:show(Part))/binary, Heroku/binary
    >>}.

%% In a function: its arguments are the handler's own business, and options are
%% shown in states, reports and specifications. A second time it is as it is.
-spec handler(term()) -> {ok, fun(() -> crema_handler:definition())} | {error, binary()}.
handler(Hidden) when is_function(Hidden, 0) ->
    handler(Hidden());
handler(Definition) ->
    case crema_handler:check(Definition) of
        {ok, Checked} -> {ok, fun() -> Checked end};
        {error, Module, Why} -> {error, <<(crema_input:show(Module))/binary, " ", Why/binary>>};
        false -> expected(handler)
    end.

%% A module alone has `[]' as its arguments.
-spec callback(type(), term()) -> {ok, term()} | {error, binary()}.
callback({callback, [], _, _}, Absent) when Absent =:= undefined; Absent =:= nil ->
    {ok, undefined};
callback({callback, _, _, Arity} = Type, Fun) when is_function(Fun), is_integer(Arity) ->
    accept(is_function(Fun, Arity), Type, Fun);
callback({callback, Atoms, _, _} = Type, Atom) when is_atom(Atom) ->
    case lists:member(Atom, Atoms) of
        true -> {ok, Atom};
        false -> callback(Type, {Atom, []})
    end;
callback({callback, _, {Function, Arity}, _} = Type, {Module, _} = Value) when is_atom(Module) ->
    IsThere =
        try
            code:ensure_loaded(Module) =:= {module, Module} andalso
                erlang:function_exported(Module, Function, Arity)
        catch
            _:_ -> false
        end,
    accept(IsThere, Type, Value);
callback(Type, _) ->
    expected(Type).

-spec topic_sizes(term()) -> {ok, #{binary() => pos_integer()}} | {error, binary()}.
topic_sizes(Value) ->
    case crema_input:pairs(Value) of
        {ok, Pairs, []} ->
            Sizes = [topic_size(crema_input:text(Topic), Size) || {Topic, Size} <- Pairs],
            case lists:member(error, Sizes) of
                false -> {ok, maps:from_list(Sizes)};
                true -> expected(topic_sizes)
            end;
        _ ->
            expected(topic_sizes)
    end.

-spec topic_partitioners(term()) ->
    {ok, #{binary() => crema_partitioner:strategy()}} | {error, binary()}.
topic_partitioners(Value) ->
    case crema_input:pairs(Value) of
        {ok, Pairs, []} ->
            Read = [{crema_input:text(T), crema_partitioner:strategy(S)} || {T, S} <- Pairs],
            Good = [{Topic, Strategy} || {{ok, Topic}, {ok, Strategy}} <- Read],
            case length(Good) =:= length(Read) of
                true -> {ok, maps:from_list(Good)};
                false -> expected(topic_partitioners)
            end;
        _ ->
            expected(topic_partitioners)
    end.

-spec topic_size({ok, binary()} | error, term()) -> {binary(), pos_integer()} | error.
topic_size({ok, Topic}, Size) when
    Topic =/= <<>>, is_integer(Size), Size >= 1, Size =< ?MAX_PARTITIONS
->
    {Topic, Size};
topic_size(_, _) ->
    error.
