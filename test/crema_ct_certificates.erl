%% Certificates and keys for tests, made when they are needed.
-module(crema_ct_certificates).

-include_lib("public_key/include/public_key.hrl").

-export([identity/2, identity/3, pem/1, key/1, key/3, openssl/2]).

-export_type([identity/0]).

-type identity() :: #{name := binary(), key := tuple(), certificate := public_key:der_encoded()}.

-define(DAY, 86400).

%% @equiv identity(Name, By, #{})
identity(Name, By) ->
    identity(Name, By, #{}).

%% @doc A key and its certificate, signed by another identity or by `self'. `days'
%% is from when to when it is valid, `hosts' its names as a server, `rsa' the kind
%% of its key (else it is of an elliptic curve; who signs must have one), unless `key'
%% is given.
-spec identity(binary(), identity() | self, Options) -> identity() when
    Options :: #{
        days => {integer(), integer()}, hosts => [string()], rsa => boolean(), key => tuple()
    }.
identity(Name, By, Options) ->
    Key =
        case Options of
            #{key := Given} -> Given;
            #{} -> new_key(maps:get(rsa, Options, false))
        end,
    {Issuer, Signer} =
        case By of
            self -> {Name, Key};
            #{name := ByName, key := ByKey} -> {ByName, ByKey}
        end,
    {From, To} = maps:get(days, Options, {-10, 300}),
    Tbs = #'OTPTBSCertificate'{
        version = v3,
        serialNumber = erlang:unique_integer([positive]),
        signature = #'SignatureAlgorithm'{
            algorithm = ?'ecdsa-with-SHA256', parameters = asn1_NOVALUE
        },
        issuer = name(Issuer),
        validity = #'Validity'{notBefore = day(From), notAfter = day(To)},
        subject = name(Name),
        subjectPublicKeyInfo = public(Key),
        extensions = extensions(maps:get(hosts, Options, authority))
    },
    #{name => Name, key => Key, certificate => public_key:pkix_sign(Tbs, Signer)}.

new_key(true) -> public_key:generate_key({rsa, 2048, 65537});
new_key(false) -> public_key:generate_key({namedCurve, secp256r1}).

public(#'RSAPrivateKey'{modulus = Modulus, publicExponent = Exponent}) ->
    #'OTPSubjectPublicKeyInfo'{
        algorithm = #'PublicKeyAlgorithm'{algorithm = ?rsaEncryption, parameters = 'NULL'},
        subjectPublicKey = #'RSAPublicKey'{modulus = Modulus, publicExponent = Exponent}
    };
public(#'ECPrivateKey'{publicKey = Point, parameters = Parameters}) ->
    #'OTPSubjectPublicKeyInfo'{
        algorithm = #'PublicKeyAlgorithm'{
            algorithm = ?'id-ecPublicKey', parameters = Parameters
        },
        subjectPublicKey = #'ECPoint'{point = Point}
    }.

name(Name) ->
    {rdnSequence, [
        [#'AttributeTypeAndValue'{type = ?'id-at-commonName', value = {utf8String, Name}}]
    ]}.

day(Days) ->
    Seconds = calendar:datetime_to_gregorian_seconds(calendar:universal_time()) + Days * ?DAY,
    {{Y, M, D}, {H, Min, S}} = calendar:gregorian_seconds_to_datetime(Seconds),
    {generalTime, lists:flatten(io_lib:format("~4..0b~2..0b~2..0b~2..0b~2..0b~2..0bZ", [
        Y, M, D, H, Min, S
    ]))}.

extensions(authority) ->
    [
        #'Extension'{
            extnID = ?'id-ce-basicConstraints',
            critical = true,
            extnValue = #'BasicConstraints'{cA = true, pathLenConstraint = asn1_NOVALUE}
        }
    ];
extensions(Hosts) ->
    [
        #'Extension'{
            extnID = ?'id-ce-subjectAltName',
            critical = false,
            extnValue = [{dNSName, Host} || Host <- Hosts]
        }
     || Hosts =/= []
    ].

%% @doc The certificates of identities, as PEM.
-spec pem([identity()]) -> binary().
pem(Identities) ->
    public_key:pem_encode([
        {'Certificate', Der, not_encrypted}
     || #{certificate := Der} <- Identities
    ]).

%% @doc The key of an identity, as PEM of the traditional form.
-spec key(identity()) -> binary().
key(#{key := Key}) ->
    public_key:pem_encode([public_key:pem_entry_encode(element(1, Key), Key)]).

%% @doc The key of an identity as `openssl Command' writes it anew.
-spec key(identity(), file:filename(), string()) -> binary().
key(Identity, Directory, Command) ->
    File = filename:join(Directory, "key"),
    ok = file:write_file(File, key(Identity)),
    Made = openssl(Directory, Command ++ " -in " ++ File),
    ok = file:delete(File),
    Made.

%% @doc What a command of openssl's puts into the file that it is given.
-spec openssl(file:filename(), string()) -> binary().
openssl(Directory, Command) ->
    File = filename:join(Directory, "made"),
    Said = os:cmd("openssl " ++ Command ++ " -out " ++ File),
    case file:read_file(File) of
        {ok, Made} when Made =/= <<>> ->
            ok = file:delete(File),
            Made;
        _ ->
            error({openssl, Command, Said})
    end.
