%% @private The options that a client starts with: those that are given, over those of
%% environment variables, over those of the application environment; what none of
%% them says has crema's default, or librdkafka's.
-module(crema_settings).

-export([rows/0, parse/2, given/1, named/2]).

-export_type([place/0, source/0, sources/0]).

-type scope() :: crema_properties:scope().
%% Where brokers are told in any way is `bootstrap_servers'.
-type place() :: crema_env:place().
-type source() :: option | {env, Variable :: binary()} | {application, client | scope()}.
-type sources() :: #{place() => source()}.
%% `Key' is an option, or {kafka, Name} by whatever name it was told.
-type entry() :: {place(), Key :: term(), Value :: term(), source()}.

-define(SCOPES, [producer, consumer, reader]).

%% @doc The rows of the table.
-spec rows() -> [crema_options:row()].
rows() ->
    [
        #{
            name => env,
            scope => ?SCOPES,
            type => {optional, env},
            default => undefined,
            unit => none,
            doc => <<"environment variables to read at the start, under the options given">>
        }
        | crema_prefix:rows() ++ crema_log:rows()
    ].

%% @doc What {@link crema_options:parse/2} makes of all of them together, with
%% `sources': where each comes from, unless it is a default. A fault of a value that
%% is not given itself has `{env, Variable}' or `{application, Scope, Option}' as its
%% option.
-spec parse(scope(), Options :: map() | list()) ->
    {ok, crema_options:parsed()} | {error, crema_options:reason()}.
parse(Scope, Options) ->
    case crema_input:pairs(Options) of
        {ok, Pairs, []} ->
            parse_given(Scope, maps:without([warnings, sources], maps:from_list(Pairs)));
        _ ->
            crema_options:parse(Scope, Options)
    end.

-spec parse_given(scope(), map()) -> {ok, crema_options:parsed()} | {error, crema_options:reason()}.
parse_given(Scope, Given) ->
    Own = entries(Given, option),
    {Application, Shapes} = application(Scope),
    Env = env(lists:append([Own | Application])),
    {Variables, Faults, Warnings} = variables(Env, Own),
    Used = lists:foldl(
        fun(Layer, Above) -> under([Entry || Entry <- Layer, is_for(Scope, Entry)], Above) end,
        Own,
        [Variables | Application]
    ),
    Sources = maps:from_list([{Place, Source} || {Place, _, _, Source} <- Used]),
    case {crema_options:parse(Scope, merged(Given, Used -- Own)), Shapes ++ Faults} of
        {{ok, #{warnings := Others} = Parsed}, []} ->
            {ok, Parsed#{warnings := Warnings ++ Others, sources => Sources}};
        {{ok, _}, Wrong} ->
            crema_option_faults:error(Scope, Wrong);
        {{error, {_, #{faults := Found}}}, Wrong} ->
            Named = lists:append([traced(Fault, Env, Sources, Wrong) || Fault <- Found]),
            crema_option_faults:error(Scope, Wrong ++ Named)
    end.

%% ---- layers -----------------------------------------------------------------------

%% One for each option, and for each property.
-spec entries(map(), source()) -> [entry()].
entries(Options, Source) ->
    lists:append([entry(Key, Value, Source) || {Key, Value} <- maps:to_list(Options)]).

-spec entry(term(), term(), source()) -> [entry()].
entry(kafka, Properties, Source) ->
    case crema_input:pairs(Properties) of
        {ok, Pairs, _} -> [property(Name, Value, Source) || {Name, Value} <- Pairs];
        %% It is told of as a whole.
        error -> []
    end;
entry(Key, Value, Source) ->
    [{Key, Key, Value, Source}].

-spec property(term(), term(), source()) -> entry().
property(Given, Value, Source) ->
    case crema_input:text(Given) of
        {ok, Name} -> {place({kafka, Name}), {kafka, Name}, Value, Source};
        error -> {{kafka, Given}, {kafka, Given}, Value, Source}
    end.

-spec place(term()) -> term().
place({kafka, Name}) when is_binary(Name) ->
    crema_env:property(Name);
place(Option) ->
    Option.

%% What the application environment has for these clients, and for all.
-spec application(scope()) -> {[[entry()]], [crema_input:fault()]}.
application(Scope) ->
    Read = [
        {Layer, crema_input:pairs(application:get_env(crema, Layer, #{}))}
     || Layer <- [Scope, client]
    ],
    Unreadable = [{application, Layer} || {Layer, Pairs} <- Read, not is_ok(Pairs)] ++ [
        {application, Layer, kafka}
     || {Layer, {ok, Pairs, _}} <- Read,
        {kafka, Properties} <- Pairs,
        not is_ok(crema_input:pairs(Properties))
    ],
    Reason = <<"must be a map, property list or keyword list">>,
    {
        [entries(maps:from_list(Pairs), {application, Layer}) || {Layer, {ok, Pairs, _}} <- Read],
        [#{option => Option, reason => Reason} || Option <- Unreadable]
    }.

-spec is_ok({ok, list(), list()} | error) -> boolean().
is_ok({ok, _, []}) -> true;
is_ok(_) -> false.

%% What is in no such form is told of with the other options.
-spec env([entry()]) -> crema_env:env() | none.
env(Entries) ->
    case lists:keyfind(env, 1, Entries) of
        {env, env, Given, _} ->
            case crema_env:check(Given) of
                {ok, Env} -> Env;
                error -> none
            end;
        false ->
            none
    end.

-spec variables(crema_env:env() | none, [entry()]) ->
    {[entry()], [crema_input:fault()], Warnings :: [binary()]}.
variables(none, _Own) ->
    {[], [], []};
variables(Env, Own) ->
    Given = [Place || {Place, _, _, _} <- Own],
    {Layer, Faults, Warnings} = crema_env:read(Env, crema_env:variables(), Given),
    Entries = [
        {Place, Place, Value, {env, Variable}}
     || {Place, {Variable, Value}} <- maps:to_list(Layer)
    ],
    {Entries, Faults, Warnings}.

%% What is meant for other kinds of clients; what is meant for none is told of.
-spec is_for(scope(), entry()) -> boolean().
is_for(Scope, {_, Key, _, Source}) when is_atom(Key), Source =/= {application, Scope} ->
    Scopes = [Scopes || #{name := Name, scope := Scopes} <- crema_options:table(), Name =:= Key],
    Clients = [Client || Client <- lists:append(Scopes), lists:member(Client, ?SCOPES)],
    Clients =:= [] orelse lists:member(Scope, Clients);
is_for(_Scope, _Entry) ->
    true.

%% A layer, without what one above it puts aside.
-spec under([entry()], Above :: [entry()]) -> [entry()].
under(Layer, Above) ->
    Aside = crema_env:aside([Place || {Place, _, _, _} <- Above]),
    Above ++ [Entry || {Place, _, _, _} = Entry <- Layer, not lists:member(Place, Aside)].

-spec merged(map(), [entry()]) -> map().
merged(Given, Below) ->
    {OfKafka, Others} = lists:partition(fun({_, Key, _, _}) -> is_property(Key) end, Below),
    Options = maps:from_list([{Key, Value} || {_, Key, Value, _} <- Others]),
    Properties = [{Name, Value} || {_, {kafka, Name}, Value, _} <- OfKafka],
    case crema_input:pairs(maps:get(kafka, Given, [])) of
        {ok, Pairs, []} when Properties =/= [] ->
            maps:merge(Options, Given#{kafka => Pairs ++ Properties});
        _ ->
            maps:merge(Options, Given)
    end.

-spec is_property(term()) -> boolean().
is_property({kafka, _}) -> true;
is_property(_) -> false.

%% ---- what is wrong ----------------------------------------------------------------

%% A fault by the place where it can be put right.
-spec traced(crema_input:fault(), crema_env:env() | none, sources(), [crema_input:fault()]) ->
    [crema_input:fault()].
traced(#{option := Option, reason := Reason} = Fault, Env, Sources, Others) ->
    Place = place(Option),
    case Sources of
        #{Place := {env, _} = Variable} ->
            [#{option => Variable, reason => Reason}];
        #{Place := {application, Layer}} ->
            [Fault#{option := {application, Layer, Option}}];
        #{Place := option} ->
            [Fault];
        #{} when Env =:= none ->
            [Fault];
        #{} ->
            unset(Fault, crema_env:variable(Env, Place), Others)
    end.

%% Of an option that is in no layer.
-spec unset(crema_input:fault(), Variable :: binary() | none, [crema_input:fault()]) ->
    [crema_input:fault()].
unset(#{option := bootstrap_servers}, Variable, Others) when is_binary(Variable) ->
    %% What is wrong with the variable is told.
    case [Name || #{option := {env, Name}} <- Others, Name =:= Variable] of
        [] -> [#{option => {env, Variable}, reason => <<"is not set: it names the brokers">>}];
        _ -> []
    end;
unset(#{option := Option, reason := Reason} = Fault, Variable, _) when
    is_binary(Variable), Option =:= group orelse Option =:= topics
->
    [Fault#{reason := <<Reason/binary, " (or set the variable ", Variable/binary, ")">>}];
unset(Fault, _, _) ->
    [Fault].

%% @doc What librdkafka says of properties, with the variables that they come from.
-spec named(Opened, Parsed :: map()) -> Opened when
    Opened :: {ok, crema_port:client(), binary()} | crema_error:error().
named({error, {Code, #{message := Message} = Details}}, #{sources := Sources}) ->
    Faults = maps:get(faults, Details, []),
    Refused = [Name || #{option := Option} <- Faults, {ok, Name} <- [named_property(Option)]],
    Said = [
        {Name, Variable}
     || {{kafka, Name}, {env, Variable}} <- maps:to_list(Sources),
        lists:member(Name, Refused) orelse
            (Faults =:= [] andalso binary:match(Message, Name) =/= nomatch)
    ],
    Sentences = [
        [" The variable ", Variable, " sets ", Name, "."]
     || {Name, Variable} <- Said
    ],
    Told = Details#{message := iolist_to_binary([Message | Sentences])},
    case Faults of
        [] -> {error, {Code, Told}};
        _ -> {error, {Code, Told#{faults := [refused(Fault, Said) || Fault <- Faults]}}}
    end;
named(Opened, _Parsed) ->
    Opened.

-spec refused(crema_input:fault(), [{binary(), binary()}]) -> crema_input:fault().
refused(#{option := Option} = Fault, Said) ->
    case [Variable || {Name, Variable} <- Said, {ok, Name} =:= named_property(Option)] of
        [Variable] -> Fault#{option := {env, Variable}};
        [] -> Fault
    end.

-spec named_property(term()) -> {ok, binary()} | error.
named_property({kafka, Name}) -> named_property(Name);
named_property(Name) when is_binary(Name) -> {ok, crema_properties:canonical(Name)};
named_property(_) -> error.

%% ---- children ---------------------------------------------------------------------

%% @doc Of parsed options those that were given, in their parsed form: what is to be
%% given at the next start, which reads the other layers anew.
-spec given(crema_options:parsed()) -> map().
given(#{sources := Sources, kafka := Kafka} = Parsed) ->
    Own = [Place || {Place, option} <- maps:to_list(Sources)],
    Properties = maps:filter(fun(Name, _) -> lists:member(place({kafka, Name}), Own) end, Kafka),
    Options = maps:with(Own, maps:remove(kafka, Parsed)),
    maps:merge(Options, maps:from_list([{kafka, Properties} || map_size(Properties) > 0])).
