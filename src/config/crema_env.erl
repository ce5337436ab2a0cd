%% @doc Configuration from environment variables: Heroku's, or any that begin with
%% a prefix.
%%
%% What the variables say becomes options, which lie under those that are given
%% (see `crema_settings'). Each remembers its variable, so that an error names
%% what is to be corrected.
-module(crema_env).

-export([check/1, describe/0, variables/0, read/3, variable/2, prefixed/2, table/1, doc/1]).
-export([aside/1, property/1]).

-export_type([env/0, variables/0, layer/0, place/0]).

-type env() :: {heroku | prefix, Prefix :: binary()}.
-type variables() :: #{Name :: binary() => Value :: binary()}.
-type place() :: atom() | {kafka, Property :: binary()}.
-type row() :: {Suffix :: binary(), place() | url, Doc :: binary()}.

-type layer() :: #{place() => {Variable :: binary(), Value :: binary() | [binary()]}}.
%% What is set, each with the variable that says so.

-type result() :: {layer(), Faults :: [map()], Warnings :: [binary()]}.

%% @private The variables behind a prefix that are known by name.
-spec table(heroku | prefix) -> [row()].
table(heroku) ->
    [
        {<<"_URL">>, url,
            <<"brokers, joined with commas: kafka+ssl://host:port, which turns TLS on, or "
                "kafka://host:port">>},
        {<<"_TRUSTED_CERT">>, {kafka, <<"ssl.ca.pem">>},
            <<"the authority that the brokers' certificates must come from">>},
        {<<"_CLIENT_CERT">>, {kafka, <<"ssl.certificate.pem">>},
            <<"the client's certificate, and those of its chain">>},
        {<<"_CLIENT_CERT_KEY">>, {kafka, <<"ssl.key.pem">>}, <<"the client's private key">>},
        {<<"_CLIENT_CERT_KEY_PASSPHRASE">>, {kafka, <<"ssl.key.password">>},
            <<"the passphrase of that key, if it has one">>},
        {<<"_PREFIX">>, prefix, <<"what the names of topics and groups begin with">>}
    ];
table(prefix) ->
    [
        {<<"_BOOTSTRAP_SERVERS">>, bootstrap_servers, <<"brokers, host:port, joined with commas">>},
        {<<"_SECURITY_PROTOCOL">>, {kafka, <<"security.protocol">>},
            <<"plaintext, ssl, sasl_plaintext or sasl_ssl">>},
        {<<"_GROUP">>, group, <<"a consumer's group">>},
        {<<"_TOPICS">>, topics, <<"a consumer's topics, joined with commas">>},
        {<<"_PREFIX">>, prefix, <<"what the names of topics and groups begin with">>}
    ].

%% What librdkafka would refuse without saying of which property it speaks.
-define(CHOICES, [
    {{kafka, <<"security.protocol">>}, [
        <<"plaintext">>, <<"ssl">>, <<"sasl_plaintext">>, <<"sasl_ssl">>
    ]},
    {{kafka, <<"sasl.mechanism">>}, [
        <<"plain">>, <<"scram-sha-256">>, <<"scram-sha-512">>, <<"oauthbearer">>, <<"gssapi">>
    ]}
]).

%% Variables of librdkafka's properties: what stands between the prefix and the
%% property's name, and how the latter begins.
-define(FAMILIES, [
    {<<"_SASL_">>, <<"sasl.">>},
    {<<"_SSL_">>, <<"ssl.">>},
    {<<"_CONF_">>, <<>>}
]).

%% @private The option `env' in one form: `heroku', the same for an add-on that has a
%% name of its own (`{heroku, "HEROKU_KAFKA_AMBER"}'), or `{prefix, "KAFKA"}'.
-spec check(term()) -> {ok, env()} | error.
check(heroku) ->
    {ok, {heroku, <<"KAFKA">>}};
%% Not what os:getenv/1 returns of a variable that is not set.
check({Kind, Prefix}) when Kind =:= heroku orelse Kind =:= prefix, not is_boolean(Prefix) ->
    case crema_input:text(Prefix) of
        {ok, Text} -> named(Kind, re:replace(Text, "(_URL)?_*$", "", [{return, binary}]));
        error -> error
    end;
check(_) ->
    error.

-spec named(heroku | prefix, binary()) -> {ok, env()} | error.
named(Kind, Name) ->
    case re:run(Name, "^[A-Za-z][A-Za-z0-9_]*$", [dollar_endonly, {capture, none}]) of
        match -> {ok, {Kind, Name}};
        nomatch -> error
    end.

%% @private
-spec describe() -> binary().
describe() ->
    <<"heroku, {heroku, Name} or {prefix, Name}, where variables begin with the name: letters, "
        "digits and underscores">>.

%% @private The variables of the environment, as they are now. Those without a value
%% are as if they were not there.
-spec variables() -> variables().
variables() ->
    maps:from_list([{bytes(Name), bytes(Value)} || {Name, Value} <- os:env(), Value =/= ""]).

%% They come as bytes where the locale has no UTF-8, as LANG=C, and what is no text.
-spec bytes(string()) -> binary().
bytes(Text) ->
    case file:native_name_encoding() =:= utf8 andalso unicode:characters_to_binary(Text) of
        Bytes when is_binary(Bytes) -> Bytes;
        _ -> << <<Char>> || Char <- Text>>
    end.

%% @private The variable that an option is read from, if there is one.
-spec variable(env(), place()) -> binary() | none.
variable({Kind, Prefix}, Option) ->
    Named = [
        Suffix
     || {Suffix, Place, _} <- table(Kind),
        Place =:= Option orelse (Place =:= url andalso Option =:= bootstrap_servers)
    ],
    case Named of
        [Suffix] -> <<Prefix/binary, Suffix/binary>>;
        [] -> none
    end.

%% @doc A name of a topic or group with the prefix that the environment has for them
%% now, as options with that `env' would have it. `badarg' for what is no `env' or name.
-spec prefixed(heroku | {heroku | prefix, iodata() | atom()}, iodata() | atom()) -> binary().
prefixed(Given, Name) ->
    case {check(Given), crema_input:text(Name)} of
        {{ok, Env}, {ok, Text}} ->
            Variable = variable(Env, prefix),
            crema_prefix:add(maps:get(Variable, variables(), undefined), Text);
        _ ->
            erlang:error(badarg, [Given, Name])
    end.

%% @private What the variables say, beside what is `Given' in another way. A fault's option
%% is `{env, Variable}', and never has a value: it might be a secret.
-spec read(env(), variables(), Given :: [place()]) -> result().
read({Kind, Prefix}, Variables, Given) ->
    Known = [
        {Place, {Name, maps:get(Name, Variables)}}
     || {Suffix, Place, _} <- table(Kind),
        Name <- [<<Prefix/binary, Suffix/binary>>],
        is_map_key(Name, Variables)
    ],
    case Kind of
        heroku -> heroku(Prefix, maps:from_list(Known), Given);
        prefix -> generic(Known, families(Prefix, Variables), Given)
    end.

%% ---- Heroku ---------------------------------------------------------------

-define(CA, {kafka, <<"ssl.ca.pem">>}).
-define(CERTIFICATE, {kafka, <<"ssl.certificate.pem">>}).
-define(KEY, {kafka, <<"ssl.key.pem">>}).
-define(PROTOCOL, {kafka, <<"security.protocol">>}).

-spec heroku(binary(), #{place() | url => {binary(), binary()}}, [place()]) -> result().
heroku(Prefix, Known, Given) ->
    %% As Kaffe has it: where nothing else tells, it is the certificates.
    Certificates = [Said || Place <- [?CA, ?CERTIFICATE], #{Place := Said} <- [Known]],
    Layer = maps:without([url | aside(Given)], Known),
    Faults = halves(Prefix, Layer),
    case {Known, Certificates} of
        {#{url := {Name, Url}}, _} ->
            addressed(Name, crema_url:parse(Url), Certificates =/= [], {Layer, Given, Faults});
        %% The brokers are given in another way, or else that they are not is told.
        {_, [{Name, _} | _]} ->
            {tls(Name, Layer), Faults, []};
        {_, []} ->
            {Layer, Faults, []}
    end.

-spec addressed(binary(), Parsed, boolean(), {layer(), [place()], [crema_input:fault()]}) ->
    result()
when
    Parsed :: {ok, tls | plain | none, binary()} | {error, binary()}.
addressed(Name, {ok, Security, Servers}, Certificates, {Layer, Given, Faults}) ->
    Reached = Layer#{bootstrap_servers => {Name, Servers}},
    Secured =
        Security =:= tls orelse (Security =:= none andalso Certificates) orelse
            lists:member(?PROTOCOL, Given),
    case Secured of
        true -> {tls(Name, Reached), Faults, []};
        false -> plain(Name, Reached, Faults)
    end;
addressed(Name, {error, Reason}, _, {Layer, _, Faults}) ->
    {Layer, [fault(Name, Reason) | Faults], []}.

%% Heroku's brokers have certificates without their names. An authority that signs
%% for one cluster alone tells its brokers from strangers all the same.
-spec tls(binary(), layer()) -> layer().
tls(Name, Layer) ->
    Secured = Layer#{?PROTOCOL => {Name, <<"ssl">>}},
    case Layer of
        #{?CA := {Ca, _}} ->
            Secured#{{kafka, <<"ssl.endpoint.identification.algorithm">>} => {Ca, <<"none">>}};
        #{} ->
            Secured
    end.

-spec plain(binary(), layer(), [crema_input:fault()]) -> result().
plain(Name, Layer, Faults) ->
    Unused = ssl(Layer),
    Warnings = [
        <<Variable/binary, " is not used: ", Name/binary, " has no kafka+ssl://">>
     || {Variable, _} <- lists:sort([maps:get(Place, Layer) || Place <- Unused])
    ],
    {(maps:without(Unused, Layer))#{?PROTOCOL => {Name, <<"plaintext">>}}, Faults, Warnings}.

-spec ssl(layer()) -> [place()].
ssl(Layer) ->
    [Place || {kafka, <<"ssl.", _/binary>>} = Place <- maps:keys(Layer)].

%% A certificate is of no use without its key, and the other way round.
-spec halves(binary(), layer()) -> [crema_input:fault()].
halves(Prefix, Layer) ->
    Certificate = <<Prefix/binary, "_CLIENT_CERT">>,
    Key = <<Certificate/binary, "_KEY">>,
    case {is_map_key(?CERTIFICATE, Layer), is_map_key(?KEY, Layer)} of
        {true, false} -> [fault(Key, <<"is not set, but ", Certificate/binary, " is">>)];
        {false, true} -> [fault(Certificate, <<"is not set, but ", Key/binary, " is">>)];
        _ -> []
    end.

%% @private What lies aside when these are given: the same, and what is another form of
%% the same. A certificate goes with its key; an authority has forms of its own.
-spec aside(Given :: [place()]) -> [place()].
aside(Given) ->
    Identity = [
        ?CERTIFICATE,
        ?KEY,
        {kafka, <<"ssl.certificate.location">>},
        {kafka, <<"ssl.key.location">>},
        {kafka, <<"ssl.keystore.location">>}
    ],
    Authority = [?CA, {kafka, <<"ssl.ca.location">>}, {kafka, <<"ssl.ca.certificate.stores">>}],
    Given ++ [{kafka, <<"ssl.key.password">>} || Identity -- Given =/= Identity] ++
        lists:append([Forms || Forms <- [Identity, Authority], Forms -- Given =/= Forms]).

%% ---- any prefix -----------------------------------------------------------

-spec generic([{place(), {binary(), binary()}}], [{place(), {binary(), binary()}}], [place()]) ->
    result().
generic(Known, Families, Given) ->
    {Said, Faults} = lists:foldl(fun once/2, {#{}, []}, Known ++ lists:sort(Families)),
    Layer = maps:without(aside(Given), Said),
    {typed(Layer), lists:reverse(Faults) ++ choices(Layer), []}.

-spec once({place(), {binary(), binary()}}, Acc) -> Acc when
    Acc :: {layer(), [crema_input:fault()]}.
once({Place, {Name, _} = Said}, {Layer, Faults}) ->
    case Layer of
        #{Place := {Other, _}} -> {Layer, [fault(Name, <<"says the same as ", Other/binary>>) | Faults]};
        #{} -> {Layer#{Place => Said}, Faults}
    end.

%% @private The place of a property, by whatever name.
-spec property(binary()) -> place().
property(Name) ->
    case crema_properties:canonical(Name) of
        <<"bootstrap.servers">> -> bootstrap_servers;
        Canonical -> {kafka, Canonical}
    end.

%% KAFKA_SASL_USERNAME is sasl.username, KAFKA_CONF_LINGER_MS linger.ms. Two names
%% of one property are the same place.
-spec families(binary(), variables()) -> [{place(), {binary(), binary()}}].
families(Prefix, Variables) ->
    [
        {property(<<Begin/binary, (dotted(Rest))/binary>>), {Name, Value}}
     || {Name, Value} <- maps:to_list(Variables),
        {Infix, Begin} <- ?FAMILIES,
        {ok, Rest} <- [behind(<<Prefix/binary, Infix/binary>>, Name)]
    ].

-spec behind(binary(), binary()) -> {ok, binary()} | no.
behind(Start, Name) ->
    Size = byte_size(Start),
    case Name of
        <<Start:Size/binary, Rest/binary>> when Rest =/= <<>> -> {ok, Rest};
        _ -> no
    end.

-spec dotted(binary()) -> binary().
dotted(Name) ->
    binary:replace(lower(Name), <<"_">>, <<".">>, [global]).

%% Not string:lowercase/1: it may be no UTF-8.
-spec lower(binary()) -> binary().
lower(Text) ->
    list_to_binary(string:to_lower(binary_to_list(Text))).

-spec choices(layer()) -> [crema_input:fault()].
choices(Layer) ->
    [
        fault(Name, [<<"must be one of ">>, lists:join(<<", ">>, Choices)])
     || {Place, Choices} <- ?CHOICES,
        #{Place := {Name, Value}} <- [Layer],
        not lists:member(lower(Value), Choices)
    ].

-spec typed(layer()) -> layer().
typed(#{topics := {Name, Topics}} = Layer) ->
    Split = re:split(Topics, "[,\\s]+"),
    Layer#{topics := {Name, [Topic || Topic <- Split, Topic =/= <<>>]}};
typed(Layer) ->
    Layer.

-spec fault(binary(), iodata()) -> crema_input:fault().
fault(Name, Reason) ->
    #{option => {env, Name}, reason => iolist_to_binary(Reason)}.

%% @private A markdown table of the variables, with `PREFIX' for the prefix.
-spec doc(heroku | prefix) -> binary().
doc(Kind) ->
    Rows = [
        ["| `", prefix_of(Kind), Suffix, "` | ", place(Place), " | ", Doc, " |\n"]
     || {Suffix, Place, Doc} <- table(Kind)
    ],
    Families = [
        ["| `", prefix_of(Kind), Infix, "...` | `", Begin, "...` | librdkafka's, with _ for . |\n"]
     || Kind =:= prefix, {Infix, Begin} <- ?FAMILIES
    ],
    iolist_to_binary(["| Variable | Sets | Meaning |\n|---|---|---|\n", Rows, Families]).

-spec prefix_of(heroku | prefix) -> binary().
prefix_of(heroku) -> <<"KAFKA">>;
prefix_of(prefix) -> <<"PREFIX">>.

-spec place(place() | url) -> iodata().
place(url) -> "`bootstrap_servers`, `security.protocol`";
place({kafka, Property}) -> ["`", Property, "`"];
place(Option) -> ["`", atom_to_binary(Option), "`"].
