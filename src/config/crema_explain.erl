%% @private Where each value comes from that a client would start with.
-module(crema_explain).

-export([explain/1]).

-export_type([config/0, explanation/0]).

%% The options of a start_link/1 and whose they are; or what child_spec/1 of a producer or
%% consumer returns.
-type config() :: crema_types:client_options().

%% `option': given; `{env, Variable}'; `{application, Key}': the application
%% environment of crema; `default': crema's. Of librdkafka's properties beside these
%% `crema': set by crema; `{from, Option}': what that option says.
-type source() :: crema_types:source().

-type explanation() :: crema_types:explanation().

-define(REDACTED, <<"[redacted]">>).

%% @doc See `crema:explain_config/1'.
-spec explain(config()) -> {ok, explanation()} | crema_error:error().
explain(#{start := {crema_producer, start_link, [Options]}}) ->
    explain({producer, Options});
explain(#{start := {crema_consumer, start_link, [Options]}}) ->
    explain({consumer, Options});
explain({Kind, Options}) when Kind =:= producer; Kind =:= consumer; Kind =:= reader ->
    case crema_settings:parse(Kind, Options) of
        {ok, #{warnings := Warnings} = Parsed} ->
            Named = crema_prefix:names(Parsed),
            Told = #{
                kind => Kind,
                options => options(Kind, Named),
                kafka => properties(Kind, Named),
                warnings => Warnings
            },
            {ok, Told#{text => text(Told)}};
        {error, _} = Error ->
            Error
    end;
explain(Other) ->
    Text = <<"neither {producer | consumer | reader, Options} nor what child_spec/1 of a producer or "
        "consumer returns">>,
    erlang:error(badarg, [crema_secret:hide(Other)], crema_error:badarg(#{1 => Text})).

-spec options(atom(), map()) -> [#{option := atom(), value := term(), source := source()}].
options(Kind, #{sources := Sources} = Parsed) ->
    [
        begin
            Source = maps:get(Name, Sources, default),
            Value = shown(Type, maps:get(Name, Parsed), Source),
            #{option => Name, value => Value, source => Source}
        end
     || #{name := Name, scope := Scopes, type := Type} <- crema_options:table(),
        Name =/= kafka,
        lists:member(Kind, Scopes)
    ].

%% What may hold a secret is not shown, unless it is only a default.
-spec shown(crema_option_type:type(), term(), source()) -> term().
shown(_Type, Value, default) ->
    Value;
shown(servers, Servers, _) ->
    re:replace(Servers, "[^,@/]*@", "", [global, {return, binary}]);
shown(handler, Hidden, _) ->
    case Hidden() of
        {Module, _} -> Module;
        Fun -> Fun
    end;
shown(Type, Value, _) ->
    case crema_option_type:shown(Type) of
        true -> crema_secret:redact(Value);
        false -> ?REDACTED
    end.

-spec properties(atom(), map()) -> [#{option := binary(), value := binary(), source := source()}].
properties(Kind, #{sources := Sources} = Parsed) ->
    Known = #{known => fun crema_client:known/1},
    [
        #{option => Name, value => property(Name, Value), source => source(Name, Sources)}
     || {Name, Value} <- crema_properties:kafka_properties(Kind, Parsed, Known)
    ].

-spec property(binary(), crema_properties:value()) -> binary().
property(<<"bootstrap.servers">>, Servers) -> shown(servers, Servers, option);
property(_Name, Value) when is_binary(Value) -> Value;
property(_Name, _Hidden) -> ?REDACTED.

-spec source(binary(), crema_settings:sources()) -> source().
source(<<"bootstrap.servers">>, _) ->
    {from, bootstrap_servers};
source(<<"group.id">>, _) ->
    {from, group};
source(Name, Sources) ->
    maps:get({kafka, crema_properties:canonical(Name)}, Sources, crema).

%% ---- to be read -------------------------------------------------------------------

-spec text(map()) -> binary().
text(#{kind := Kind, options := Options, kafka := Properties, warnings := Warnings}) ->
    unicode:characters_to_binary([
        ["Options of a ", atom_to_binary(Kind), "\n"],
        [line(Option) || Option <- Options],
        "librdkafka's properties (all others have its defaults)\n",
        [line(Property) || Property <- Properties],
        [["Warning: ", Warning, "\n"] || Warning <- Warnings]
    ]).

-spec line(#{option := atom() | binary(), value := term(), source := source()}) -> iodata().
line(#{option := Name, value := Value, source := Source}) ->
    Label =
        case is_atom(Name) of
            true -> atom_to_binary(Name);
            false -> Name
        end,
    ["  ", Label, " = ", value(Value), "  (", said(Source), ")\n"].

%% A certificate is of many lines.
-spec value(term()) -> iodata().
value(Value) when is_binary(Value), byte_size(Value) < 80 ->
    case io_lib:printable_unicode_list(unicode:characters_to_list(Value)) of
        true -> [Char || <<Char/utf8>> <= Value, Char =/= $\n];
        false -> crema_input:show(Value)
    end;
value(undefined) ->
    "none";
value(Value) ->
    crema_input:show(Value).

-spec said(source()) -> iodata().
said(option) -> "given";
said({env, Variable}) -> ["the variable ", Variable];
said({application, Layer}) -> [atom_to_binary(Layer), " in crema's application environment"];
said(default) -> "crema's default";
said(crema) -> "set by crema";
said({from, Option}) -> ["the option ", atom_to_binary(Option)].
