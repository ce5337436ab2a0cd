%% @doc Logging in: credentials that change while a client runs, and tokens.
%%
%% ```
%% ok = crema_sasl:set_credentials(orders, #{username => "app", password => fun new_password/0}).
%% '''
%% The option `oauth_token' of producers, consumers and readers gets the tokens of SASL
%% OAUTHBEARER. It is called in a process of its own, before the client's first connection
%% and again when 80 % of a token's life have passed, with a map of
%% <ul>
%% <li>`client', the process of the client, and `name', that in its options;</li>
%% <li>`attempt', 1 for the first call after a token;</li>
%% <li>`config', the value of `sasl.oauthbearer.config'.</li>
%% </ul>
%% It returns `{ok, Token}' or `{error, Reason}'. `Reason' gets into events and the log; what
%% the function returns otherwise, or raises, does not. After an error, a crash or
%% `oauth_timeout' it is called again, after a back-off (`oauth_backoff').
-module(crema_sasl).

-export([set_credentials/2, unsecured/1]).

-export_type([source/0, about/0, token/0, credentials/0]).

-type source() :: fun((about()) -> term()).
%% It returns {ok, token()} or {error, Reason}; whatever else it returns is a failure, too.

-type about() :: #{
    client := pid(), name := term(), attempt := pos_integer(), config := binary()
}.

-type token() :: #{
    %% What is sent to the brokers.
    token := iodata(),
    %% When it ends, in milliseconds since 1970; or how long it lives, in milliseconds.
    expires_at => integer(),
    lifetime => pos_integer(),
    %% Whose it is: librdkafka puts that into its messages ("").
    principal => iodata() | atom(),
    %% SASL extensions (RFC 7628, 3.1); names are of letters.
    extensions => #{Name :: iodata() | atom() => iodata() | atom()}
}.

-type credentials() :: #{
    username := iodata() | atom(), password := iodata() | fun(() -> iodata())
}.

%% @doc Gives a producer, a consumer or a pool that logs in by PLAIN or SCRAM another name
%% and password, or another password. New connections log in by them; those that there are
%% live on. A map, or a list of pairs.
%%
%% They hold for everything of the client: the clients that it makes after a disconnect or a
%% fatal error, a consumer's members and its own producers, a producer's variants and a pool's
%% members, until the client's process itself is started again: then those of its options do.
%% A password that is a function is called whenever a client is made.
%%
%% `bad_options' when they are none; `no_password' when the client logs in otherwise, or not at
%% all; `closed' or `not_found' when it does not run; `busy' in an event handler of it.
-spec set_credentials(crema_types:client(), credentials() | [{atom(), term()}]) ->
    ok | crema_error:error().
set_credentials(Client, Given) ->
    case credentials(crema_input:pairs(Given)) of
        {ok, Username, Password} -> crema_credentials:set(Client, Username, Password);
        {error, _} = Error -> Error
    end.

-spec credentials({ok, [{term(), term()}], list()} | error) ->
    {ok, binary(), crema_secret:secret()} | crema_error:error().
credentials({ok, [_, _] = Pairs, []}) ->
    case maps:from_list(Pairs) of
        %% As os:getenv/1 says of a variable that is not set.
        #{username := Username, password := Password} when Username =/= false, Password =/= false ->
            given(crema_input:text(Username), secret(Password));
        #{} ->
            bad_credentials()
    end;
credentials(_) ->
    bad_credentials().

-spec given({ok, binary()} | error, {ok, crema_secret:secret()} | error) ->
    {ok, binary(), crema_secret:secret()} | crema_error:error().
given({ok, Username}, {ok, Password}) when Username =/= <<>> -> {ok, Username, Password};
given(_, _) -> bad_credentials().

-spec secret(term()) -> {ok, crema_secret:secret()} | error.
secret(Function) when is_function(Function, 0) ->
    {ok, Function};
secret(Given) ->
    case crema_input:text(Given) of
        {ok, Text} -> {ok, crema_secret:wrap(Text)};
        error -> error
    end.

-spec bad_credentials() -> crema_error:error().
bad_credentials() ->
    Text = "credentials are a map of username and password: texts, or a function as password",
    crema_error:make(bad_options, Text, #{}).

%% @doc An `oauth_token' for development: tokens that nobody has signed (`{"alg":"none"}'),
%% which brokers take only where they are told to. A map of `principal', `lifetime'
%% (3600000 ms), `scope' (a list) and `extensions'; or the text that librdkafka takes as
%% `sasl.oauthbearer.config', like `"principal=admin scope=a,b lifeSeconds=600"'.
-spec unsecured(Claims | Config) -> source() when
    Claims :: #{
        principal := iodata() | atom(),
        lifetime => pos_integer(),
        scope => [iodata() | atom()],
        extensions => #{Name :: iodata() | atom() => iodata() | atom()}
    },
    Config :: binary() | string().
unsecured(Given) ->
    fun(_) -> crema_unsecured:token(Given) end.
