%% @private Keeps passwords, keys and tokens out of everything that is shown.
%%
%% A secret travels as a function without arguments until the configuration is
%% packed for the driver: a function prints as its name, so that neither
%% `sys:get_state/1', a crash report, a log nor `inspect' shows what it holds.
-module(crema_secret).

-export([is_secret/1, is_evident/2, is_credential/1, wrap/1, reveal/1, reveal/2]).
-export([redact/1, hide/1, status/2]).

-export_type([secret/0, hidden/0]).

-type secret() :: fun(() -> iodata() | string() | atom()).
%% Called once each time the configuration is packed.

-type hidden() :: {?MODULE, fun(() -> term())}.

-define(REDACTED, <<"[redacted]">>).

%% A key that contains one of these names a secret. Dots, dashes and
%% underscores are the same here, for application code writes `api_key'.
-define(NEEDLES, [
    %% A misspelt password is one, too.
    <<"pass">>,
    <<"pasw">>,
    <<"pwd">>,
    <<"secret">>,
    <<"token">>,
    <<"credential">>,
    %% Also a certificate, in whose place somebody may have put the key.
    <<".pem">>,
    <<"private.key">>,
    <<"api.key">>,
    <<"apikey">>,
    <<"access.key">>,
    <<"sasl.jaas">>,
    <<"oauthbearer.config">>
]).

%% A key that ends so does, too: headers of HTTP, and what is sent in them.
-define(ENDS, "(authorization|assertion|bearer|cookie)$").

%% And so does a property of logging in that is not known to be open: one that is misspelt, or of
%% another client's (`sasl', of brod).
-define(LOGIN, "^(sasl$|sasl[.]|ssl[.])").
-define(OPEN,
    "[.](mechanisms?|username|location|suites|list|algorithm|providers|stores|id|name|principal|"
    "keytab|relogin|method|scope|extensions|url|type|file|claim[.].*)$"
).

%% @doc Whether a key names a secret: `sasl.password', `ssl.key.pem',
%% `sasl.oauthbearer.client.secret', `my_token' and their like.
%%
%% The key may be an atom, a binary or a string; anything else is no secret.
%% Addresses (`sasl.oauthbearer.token.endpoint.url') are none either.
-spec is_secret(Key :: term()) -> boolean().
is_secret(Key) ->
    case key_text(Key) of
        {ok, Given} ->
            Text = string:lowercase(Given),
            Dotted = binary:replace(Text, [<<"_">>, <<"-">>], <<".">>, [global]),
            not is_address(Dotted) andalso
                (binary:match(Dotted, ?NEEDLES) =/= nomatch orelse has(?ENDS, Dotted) orelse
                    has(?LOGIN, Text) andalso not has(?OPEN, Text));
        error ->
            false
    end.

-spec has(Pattern :: string(), binary()) -> boolean().
has(Pattern, Text) ->
    re:run(Text, Pattern, [{capture, none}]) =:= match.

%% @doc Whether a value shows that it is a secret, under whatever key: an address with
%% somebody's name in it, and maybe the password, or with arguments; a text in the place of
%% the name of its file.
-spec is_evident(Key :: binary(), Value :: term()) -> boolean().
is_evident(Key, Value) when is_binary(Value) ->
    case is_address(Key) of
        true -> has("@|\\?", Value);
        false -> has("://[^/]*@|-----BEGIN", Value)
    end;
is_evident(_Key, _Value) ->
    false.

%% @doc Whether a property is a secret or the name of a user, which `false' is not: that
%% is what os:getenv/1 says of a variable that is not set.
-spec is_credential(Name :: binary()) -> boolean().
is_credential(Name) ->
    Name =:= <<"sasl.username">> orelse is_secret(Name).

-spec is_address(binary()) -> boolean().
is_address(Dotted) ->
    filename:extension(Dotted) =:= <<".url">>.

%% Invalid UTF-8 is no key of anything; it also would make string:lowercase/1 fail.
-spec key_text(term()) -> {ok, binary()} | error.
key_text(Key) ->
    try
        case crema_input:text(Key) of
            {ok, Text} ->
                case unicode:characters_to_binary(Text) of
                    Text -> {ok, Text};
                    _ -> error
                end;
            error ->
                error
        end
    catch
        error:badarg -> error
    end.

%% @doc Puts a value into a function, so that it no longer shows. A function is
%% returned as it is.
-spec wrap(binary() | secret()) -> secret().
wrap(Secret) when is_function(Secret, 0) -> Secret;
wrap(Value) when is_binary(Value) -> fun() -> Value end.

%% @doc The value to hand to the driver: a binary as it is, a function called.
%%
%% `{error, crashed}' when the function raised, `{error, not_text}' when it
%% returned something that is no text or holds a zero byte. What it raised is
%% dropped on purpose: it may contain the secret.
-spec reveal(binary() | secret()) -> {ok, binary()} | {error, crashed | not_text}.
reveal(Value) when is_binary(Value) ->
    {ok, Value};
reveal(Secret) when is_function(Secret, 0) ->
    try crema_input:text(Secret()) of
        {ok, Value} -> {ok, Value};
        error -> {error, not_text}
    catch
        _:_ -> {error, crashed}
    end.

%% @doc The same of a property, where `false' is no text of a credential.
-spec reveal(Name :: binary(), binary() | secret()) ->
    {ok, binary()} | {error, crashed | not_text}.
reveal(Name, Secret) when is_function(Secret, 0) ->
    case is_credential(Name) of
        true -> reveal(fun() -> unless_false(Secret()) end);
        false -> reveal(Secret)
    end;
reveal(_Name, Value) ->
    reveal(Value).

-spec unless_false(Given) -> Given | undefined.
unless_false(false) -> undefined;
unless_false(Given) -> Given.

%% @doc A term with the value of each secret-named key replaced by
%% `<<"[redacted]">>', at any depth of maps, lists and tuples. Use it on any
%% options before they are shown.
%%
%% In a tuple a secret-named first element hides all others, whatever the size.
-spec redact(term()) -> term().
redact(Map) when is_map(Map) ->
    maps:map(fun redact/2, Map);
redact([Head | Tail]) ->
    [redact(Head) | redact(Tail)];
redact(Tuple) when tuple_size(Tuple) >= 2 ->
    [First | Rest] = tuple_to_list(Tuple),
    list_to_tuple([redact(First) | [redact(First, Value) || Value <- Rest]]);
redact(Term) ->
    Term.

-spec redact(Key :: term(), term()) -> term().
%% What a handler is given is its own business, under whatever names.
redact(handler, {Module, _Args}) ->
    {Module, ?REDACTED};
redact(Key, Value) ->
    case is_secret(Key) of
        true -> ?REDACTED;
        false -> redact(Value)
    end.

%% @doc Options that are to be parsed later, all of them in a function: in those that are
%% wrong a secret may be anywhere. {@link crema_input:pairs/1} reads them.
-spec hide(term()) -> hidden().
hide(Options) -> {?MODULE, fun() -> Options end}.

%% @doc What a gen_server tells of itself, with what may be told of its state, and without
%% the messages that it was sent.
-spec status(gen_server:format_status(), fun((term()) -> term())) -> gen_server:format_status().
status(Status, Show) ->
    maps:map(
        fun
            (state, State) -> Show(State);
            (log, _) -> [];
            (_, Other) -> Other
        end,
        Status
    ).
