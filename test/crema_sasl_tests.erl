%% The options of tokens, what they mean with librdkafka's properties, and tokens that nobody
%% has signed.
-module(crema_sasl_tests).

-include_lib("eunit/include/eunit.hrl").

-export([token/2]).

-define(UNSECURED, 'enable.sasl.oauthbearer.unsecure.jwt').

%% What brings no tokens, or several times, is told before anything starts.
faults_test() ->
    Token = fun() -> {error, none} end,
    Bearer = #{'security.protocol' => 'SASL_SSL', 'sasl.mechanism' => 'OAUTHBEARER'},
    [
        ?assertMatch({match, _}, re:run(faults(Options), Expected), {Options, faults(Options)})
     || {Options, Expected} <- [
            {#{kafka => Bearer}, "oauth_token is required"},
            {#{oauth_token => Token}, "oauth_token needs security.protocol"},
            {#{oauth_token => Token, kafka => #{'security.protocol' => ssl}}, "needs security.prot"},
            {#{oauth_token => Token, kafka => Bearer#{'sasl.mechanism' => 'PLAIN'}}, "not PLAIN"},
            {#{oauth_token => Token, kafka => Bearer#{?UNSECURED => true}}, "together with enable"},
            {#{oauth_token => Token, kafka => Bearer#{'sasl.oauthbearer.method' => oidc}}, "oidc"},
            {#{kafka => Bearer#{?UNSECURED => sometimes}}, "must be true or false"},
            {#{kafka => Bearer#{?UNSECURED => true, 'sasl.oauthbearer.method' => oidc}}, "exclude"},
            {#{oauth_token => fun lists:map/2}, "a function of arity 0 or 1"},
            {#{oauth_token => {?MODULE, token, none}}, "a function of arity 0 or 1"},
            {#{oauth_timeout => 0}, "oauth_timeout"}
        ]
    ],
    [
        ?assertEqual(none, faults(Options))
     || Options <- [
            #{oauth_token => Token, kafka => Bearer},
            #{oauth_token => Token, kafka => maps:remove('sasl.mechanism', Bearer)},
            #{oauth_token => nil, kafka => Bearer#{?UNSECURED => true}},
            #{kafka => Bearer#{'sasl.oauthbearer.method' => oidc}},
            #{kafka => Bearer#{'plugin.library.paths' => "of-tokens"}},
            #{oauth_token => Token, kafka => Bearer#{'plugin.library.paths' => "of-others"}},
            #{kafka => #{'sasl.mechanism' => 'OAUTHBEARER'}},
            #{kafka => #{?UNSECURED => false}}
        ]
    ].

faults(Options) ->
    case crema_options:parse(producer, Options#{bootstrap_servers => "h:1"}) of
        {ok, _} -> none;
        {error, {bad_options, #{message := Text}}} -> Text
    end.

%% The option makes the mechanism, and librdkafka never hears of unsecured tokens.
properties_test() ->
    {ok, Parsed} = crema_options:parse(producer, #{
        bootstrap_servers => "h:1",
        oauth_token => {?MODULE, token, []},
        kafka => #{'security.protocol' => sasl_ssl, ?UNSECURED => false}
    }),
    Properties = maps:from_list(crema_properties:kafka_properties(producer, Parsed)),
    ?assertMatch(#{<<"sasl.mechanism">> := <<"OAUTHBEARER">>}, Properties),
    ?assertNot(is_map_key(atom_to_binary(?UNSECURED), Properties)),
    {ok, Again} = crema_options:parse(producer, Parsed),
    ?assertEqual(Parsed, Again).

%% In a specification the function is no less hidden, and the same, when other options are
%% wrong there: they may be right when it starts.
child_spec_test() ->
    [
        begin
            #{start := {_, _, [Hidden]}} = crema_producer:child_spec(#{
                bootstrap_servers => Servers, oauth_token => Given, kafka => #{
                    'security.protocol' => sasl_ssl
                }
            }),
            ?assertEqual(nomatch, string:find(io_lib:format("~p", [Hidden]), "s3cret")),
            {ok, Pairs, []} = crema_input:pairs(Hidden),
            {ok, Source} = crema_sasl_options:check(proplists:get_value(oauth_token, Pairs)),
            ?assertEqual({ok, #{token => "s3cret"}}, Source(about))
        end
     || Servers <- ["h:1", {wrong}],
        Given <- [
            fun() -> {ok, #{token => "s3cret"}} end,
            fun(about) -> {ok, #{token => "s3cret"}} end,
            {?MODULE, token, ["s3cret"]}
        ]
    ].

token(about, Token) ->
    {ok, #{token => Token}}.

%% A producer that a consumer has for itself logs in as it does, unless it is told otherwise.
shared_test() ->
    Options = #{oauth_token => fun(_) -> none end, oauth_timeout => 1, oauth_backoff => {1, 1}},
    Sasl = #{<<"security.protocol">> => <<"sasl_ssl">>},
    ?assertEqual(Options, crema_sasl_options:shared(Options#{group => g}, Sasl)),
    [
        ?assertEqual(#{}, crema_sasl_options:shared(Options, Other))
     || Other <- [#{}, Sasl#{<<"sasl.mechanism">> => <<"PLAIN">>}]
    ].

%% The text that librdkafka takes makes the claims that it makes of it.
unsecured_config_test() ->
    {#{principal := <<"fubar">>}, Claims} = unsecured("principal=fubar scopeClaimName=whatever"),
    ?assertMatch({match, _}, re:run(Claims, "^{\"sub\":\"fubar\",\"iat\":[\\d.]+,\"exp\":[\\d.]+}$")),
    {#{extensions := #{<<"a">> := <<"1">>}}, Scoped} = unsecured(
        "principal=fubar principalClaimName=azp scope=role1,role2 lifeSeconds=60 extension_a=1"
    ),
    Pattern =
        "^{\"azp\":\"fubar\",\"iat\":(\\d+)[.]\\d+,\"exp\":(\\d+)[.]\\d+,"
        "\"scope\":\\[\"role1\",\"role2\"\\]}$",
    {match, [From, To]} = re:run(Scoped, Pattern, [{capture, all_but_first, list}]),
    ?assertEqual(60, list_to_integer(To) - list_to_integer(From)).

unsecured(Given) ->
    {ok, #{token := Token} = Made} = (crema_sasl:unsecured(Given))(#{}),
    [Header, Payload, <<>>] = binary:split(iolist_to_binary(Token), <<".">>, [global]),
    ?assertEqual(<<"{\"alg\":\"none\"}">>, decoded(Header)),
    {Made, decoded(Payload)}.

decoded(Text) ->
    Standard = << <<(standard(C))>> || <<C>> <= Text >>,
    base64:decode(<<Standard/binary, (binary:copy(<<"=">>, -byte_size(Text) band 3))/binary>>).

standard($-) -> $+;
standard($_) -> $/;
standard(C) -> C.

%% What is not understood is an error, with nothing of it.
unsecured_faults_test() ->
    [
        begin
            {error, Text} = (crema_sasl:unsecured(Given))(#{}),
            ?assertMatch({_, _}, binary:match(iolist_to_binary(Text), Expected), Text),
            ?assertEqual(nomatch, binary:match(iolist_to_binary(Text), <<"s3cret">>), Text)
        end
     || {Given, Expected} <- [
            {"", <<"principal">>},
            {"scope=s3cret", <<"principal">>},
            {"principal=a lifeSeconds=s3cret", <<"lifeSeconds">>},
            {"principal=a other=s3cret", <<"something else">>},
            {"czNjcmV0s3cret=", <<"something else">>},
            {"s3cret principal=a", <<"something else">>},
            {#{lifetime => 1}, <<"principal">>}
        ]
    ].
