%% @private The options by which a client gets tokens for OAUTHBEARER, and what they
%% mean together with librdkafka's properties.
-module(crema_sasl_options).

-export([rows/0, check/1, describe/0, rules/0, names_mechanism/1]).
-export([properties/1, without_ours/1, source/1, shared/2]).

%% librdkafka's own unsecured tokens: before 2.2.0 it ends the process when it is to
%% refresh one, and since then it never does where events are polled. So crema makes
%% them, and librdkafka does not hear of it.
-define(UNSECURED, <<"enable.sasl.oauthbearer.unsecure.jwt">>).

-define(MECHANISM, <<"sasl.mechanism">>).
%% As librdkafka wants them written.
-define(MECHANISMS, [
    <<"GSSAPI">>, <<"PLAIN">>, <<"SCRAM-SHA-256">>, <<"SCRAM-SHA-512">>, <<"OAUTHBEARER">>
]).

-define(MAX_TIME, 16#FFFFFFFF).

-spec rows() -> [crema_options:row()].
rows() ->
    [
        #{
            name => oauth_token,
            scope => [],
            type => token,
            default => undefined,
            unit => none,
            doc => <<"gets a token for SASL OAUTHBEARER, in a process of its own (see crema_sasl)">>
        },
        #{
            name => oauth_timeout,
            scope => [],
            type => {integer, 1, ?MAX_TIME},
            default => 30000,
            unit => ms,
            doc => <<"how long it may take; then it is ended, and called again">>
        },
        #{
            name => oauth_backoff,
            scope => [],
            type => backoff,
            default => {1000, 60000},
            unit => ms,
            doc => <<"wait before it is called again when it has failed: the first, doubled up to "
                "the last">>
        }
    ].

%% @doc A function of one argument comes back, so that no arguments show anywhere.
-spec check(term()) -> {ok, crema_sasl:source() | undefined} | {error, Reason :: binary()}.
check(Absent) when Absent =:= undefined; Absent =:= nil ->
    {ok, undefined};
check(Function) when is_function(Function, 1) ->
    {ok, Function};
check(Function) when is_function(Function, 0) ->
    {ok, fun(_) -> Function() end};
check({Module, Function, Args}) when is_atom(Module), is_atom(Function) ->
    case crema_input:is_proper(Args) of
        true -> {ok, fun(About) -> apply(Module, Function, [About | Args]) end};
        false -> check(none)
    end;
check(_) ->
    {error, <<"must be ", (describe())/binary>>}.

-spec describe() -> binary().
describe() ->
    <<"a function of arity 0 or 1, or {Module, Function, Args}, called with a map before Args">>.

%% ---- rules -------------------------------------------------------------------------

-spec rules() -> [fun((map()) -> [crema_option_rules:finding()])].
rules() ->
    [fun has_use/1, fun has_source/1, fun is_boolean_text/1].

-spec has_use(map()) -> [crema_option_rules:finding()].
has_use(#{oauth_token := Token, kafka := Kafka}) when Token =/= undefined ->
    case {is_sasl(Kafka), mechanism(Kafka), sources(Kafka)} of
        {false, _, _} ->
            [{fault, oauth_token, "needs security.protocol sasl_ssl under kafka (or sasl_plaintext, "
                "by which anybody on the way reads the tokens)"}];
        {_, Mechanism, _} when Mechanism =/= none, Mechanism =/= <<"OAUTHBEARER">> ->
            [{fault, oauth_token, ["is for sasl.mechanism OAUTHBEARER, not ", Mechanism]}];
        {_, _, [Other | _]} ->
            [{fault, oauth_token, ["is not to be given together with ", Other]}];
        _ ->
            []
    end;
has_use(_) ->
    [].

-spec has_source(map()) -> [crema_option_rules:finding()].
has_source(#{oauth_token := undefined, kafka := Kafka}) ->
    case {is_sasl(Kafka) andalso mechanism(Kafka), sources(Kafka)} of
        %% A plugin may bring them.
        {<<"OAUTHBEARER">>, []} when not is_map_key(<<"plugin.library.paths">>, Kafka) ->
            [{fault, oauth_token, "is required for sasl.mechanism OAUTHBEARER, unless kafka has "
                "sasl.oauthbearer.method oidc or, for development, "
                "enable.sasl.oauthbearer.unsecure.jwt"}];
        {<<"OAUTHBEARER">>, [One, Other]} ->
            [{fault, {kafka, ?UNSECURED}, [One, " and ", Other, " exclude each other"]}];
        _ ->
            []
    end;
has_source(_) ->
    [].

-spec is_boolean_text(map()) -> [crema_option_rules:finding()].
is_boolean_text(#{kafka := #{?UNSECURED := Value}}) when
    Value =/= <<"true">>, Value =/= <<"false">>
->
    [{fault, {kafka, ?UNSECURED}, "must be true or false"}];
is_boolean_text(_) ->
    [].

%% @doc Of every client, also one without these options: a mechanism is named, and as
%% librdkafka wants it. It has GSSAPI by default, and says of it only what Kerberos lacks.
-spec names_mechanism(map()) -> [crema_option_rules:finding()].
names_mechanism(#{kafka := #{<<"security.protocol">> := Protocol} = Kafka} = Values) when
    is_binary(Protocol)
->
    case is_sasl(Kafka) andalso crema_properties:find(?MECHANISM, Kafka) of
        {ok, Used, Given} when is_binary(Given) ->
            [
                {fault, {kafka, Used}, ["is to be written ", Known]}
             || Known <- ?MECHANISMS, Known =/= Given, letters(Known) =:= letters(Given)
            ];
        none when not is_function(map_get(oauth_token, Values), 1) ->
            [{fault, {kafka, ?MECHANISM}, Missing} || Missing <- no_mechanism(Kafka)];
        _ ->
            []
    end;
names_mechanism(_) ->
    [].

%% A plugin may bring it.
-spec no_mechanism(crema_properties:properties()) -> [iodata()].
no_mechanism(#{<<"sasl.username">> := _}) ->
    ["is not given, but sasl.username is: without it librdkafka takes GSSAPI (Kerberos), which has "
        "no such user; give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"];
no_mechanism(Kafka) ->
    Kerberos = [Name || <<"sasl.kerberos.", _/binary>> = Name <- maps:keys(Kafka)],
    [
        "is not given: give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 with sasl.username and "
        "sasl.password, OAUTHBEARER, or GSSAPI for Kerberos"
     || Kerberos =:= [], not is_map_key(<<"plugin.library.paths">>, Kafka)
    ].

-spec letters(binary()) -> string().
letters(Text) ->
    [Letter || Letter <- crema_input:lower(Text), Letter =/= $-, Letter =/= $_].

%% What among the properties brings tokens.
-spec sources(crema_properties:properties()) -> [binary()].
sources(Kafka) ->
    [?UNSECURED || #{?UNSECURED := <<"true">>} <- [Kafka]] ++
        [<<"sasl.oauthbearer.method oidc">> || is_oidc(Kafka)].

-spec is_oidc(crema_properties:properties()) -> boolean().
is_oidc(#{<<"sasl.oauthbearer.method">> := Method}) when is_binary(Method) ->
    crema_input:lower(Method) =:= "oidc";
is_oidc(_) ->
    false.

%% Where they are functions nothing is known.
-spec is_sasl(crema_properties:properties()) -> boolean().
is_sasl(#{<<"security.protocol">> := Protocol}) when is_binary(Protocol) ->
    lists:prefix("sasl_", crema_input:lower(Protocol));
is_sasl(Kafka) ->
    is_map_key(<<"security.protocol">>, Kafka).

-spec mechanism(crema_properties:properties()) -> binary() | none.
mechanism(Kafka) ->
    case crema_properties:find(?MECHANISM, Kafka) of
        {ok, _, Mechanism} when is_binary(Mechanism) ->
            list_to_binary(string:to_upper(binary_to_list(Mechanism)));
        _ -> none
    end.

%% ---- what follows ------------------------------------------------------------------

%% @doc The properties that these options stand for.
-spec properties(map()) -> [{binary(), binary()}].
properties(#{oauth_token := Token}) when Token =/= undefined ->
    [{?MECHANISM, <<"OAUTHBEARER">>}];
properties(_) ->
    [].

%% @doc Without those that librdkafka is not to know.
-spec without_ours([{binary(), crema_properties:value()}]) ->
    [{binary(), crema_properties:value()}].
without_ours(Properties) ->
    lists:keydelete(?UNSECURED, 1, Properties).

%% @doc What gets the tokens of a client with these parsed options, and the value of
%% `sasl.oauthbearer.config'.
-spec source(map()) -> {crema_sasl:source(), Config :: binary()} | none.
source(#{kafka := Kafka} = Options) ->
    Config = config(Kafka),
    case {maps:get(oauth_token, Options, undefined), Kafka} of
        {undefined, #{?UNSECURED := <<"true">>}} -> {crema_sasl:unsecured(Config), <<>>};
        {undefined, _} -> none;
        {Source, _} -> {Source, Config}
    end.

-spec config(crema_properties:properties()) -> binary().
config(#{<<"sasl.oauthbearer.config">> := Config}) ->
    case crema_secret:reveal(Config) of
        {ok, Text} -> Text;
        {error, _} -> <<>>
    end;
config(_) ->
    <<>>.

%% @doc The options that a producer of a consumer's own has of it, unless its
%% properties make it log in otherwise.
-spec shared(Consumer :: map(), Properties :: map()) -> map().
shared(Options, Properties) ->
    Own = maps:with([oauth_token, oauth_timeout, oauth_backoff], Options),
    case has_use(maps:merge(#{oauth_token => undefined}, Own#{kafka => Properties})) of
        [] -> Own;
        _ -> #{}
    end.
