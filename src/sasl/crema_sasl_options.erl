%% @private The options by which a client gets tokens for OAUTHBEARER, and what they
%% mean together with librdkafka's properties.
-module(crema_sasl_options).

-export([rows/0, check/1, describe/0, rules/0]).
-export([properties/1, without_ours/1, source/1, shared/2]).

%% librdkafka's own unsecured tokens: before 2.2.0 it ends the process when it is to
%% refresh one, and since then it never does where events are polled. So crema makes
%% them, and librdkafka does not hear of it.
-define(UNSECURED, <<"enable.sasl.oauthbearer.unsecure.jwt">>).

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

%% What among the properties brings tokens.
-spec sources(crema_properties:properties()) -> [binary()].
sources(Kafka) ->
    [?UNSECURED || #{?UNSECURED := <<"true">>} <- [Kafka]] ++
        [<<"sasl.oauthbearer.method oidc">> || is_oidc(Kafka)].

-spec is_oidc(crema_properties:properties()) -> boolean().
is_oidc(#{<<"sasl.oauthbearer.method">> := Method}) when is_binary(Method) ->
    lower(Method) =:= "oidc";
is_oidc(_) ->
    false.

%% Where they are functions nothing is known.
-spec is_sasl(crema_properties:properties()) -> boolean().
is_sasl(#{<<"security.protocol">> := Protocol}) when is_binary(Protocol) ->
    lists:prefix("sasl_", lower(Protocol));
is_sasl(Kafka) ->
    is_map_key(<<"security.protocol">>, Kafka).

-spec mechanism(crema_properties:properties()) -> binary() | none.
mechanism(Kafka) ->
    case crema_properties:find(<<"sasl.mechanism">>, Kafka) of
        {ok, _, Mechanism} when is_binary(Mechanism) ->
            list_to_binary(string:to_upper(binary_to_list(Mechanism)));
        _ -> none
    end.

%% Not string:lowercase/1: it may be no UTF-8.
-spec lower(binary()) -> string().
lower(Text) ->
    string:to_lower(binary_to_list(Text)).

%% ---- what follows ------------------------------------------------------------------

%% @doc The properties that these options stand for.
-spec properties(map()) -> [{binary(), binary()}].
properties(#{oauth_token := Token}) when Token =/= undefined ->
    [{<<"sasl.mechanism">>, <<"OAUTHBEARER">>}];
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
