%% @private What the properties of a client say of how it connects.
-module(crema_check_security).

-export([read/1, settings/1]).

-export_type([security/0]).

-type security() :: #{
    protocol := binary(),
    tls := boolean(),
    sasl := boolean(),
    mechanism := binary(),
    families := [inet | inet6],
    properties := [{binary(), crema_properties:value()}]
}.

-spec read([{binary(), crema_properties:value()}]) -> security().
read(Properties) ->
    Protocol = string:lowercase(shown(<<"security.protocol">>, <<"plaintext">>, Properties)),
    #{
        protocol => Protocol,
        tls => lists:member(Protocol, [<<"ssl">>, <<"sasl_ssl">>]),
        sasl => lists:member(Protocol, [<<"sasl_plaintext">>, <<"sasl_ssl">>]),
        mechanism => shown(<<"sasl.mechanism">>, <<"GSSAPI">>, Properties),
        families => families(shown(<<"broker.address.family">>, <<"any">>, Properties)),
        properties => Properties
    }.

-spec shown(binary(), binary(), [{binary(), crema_properties:value()}]) -> binary().
shown(Name, Default, Properties) ->
    Given = [Value || {Key, Value} <- Properties, crema_properties:canonical(Key) =:= Name],
    case [crema_secret:reveal(Value) || Value <- Given] of
        [{ok, Text} | _] -> Text;
        _ -> Default
    end.

-spec families(binary()) -> [inet | inet6].
families(<<"v4">>) -> [inet];
families(<<"v6">>) -> [inet6];
families(_) -> [inet, inet6].

%% @doc The properties of TLS, as text: for packing only.
-spec settings(security()) -> [{binary(), binary()}].
settings(#{properties := Properties}) ->
    [
        {Key, Text}
     || {Key, Value} <- Properties,
        is_of_tls(Key),
        {ok, Text} <- [crema_secret:reveal(Value)]
    ].

-spec is_of_tls(binary()) -> boolean().
is_of_tls(<<"ssl.", _/binary>>) -> true;
is_of_tls(Key) -> Key =:= <<"enable.ssl.certificate.verification">>.
