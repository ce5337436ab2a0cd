%% @private The two requests of Kafka that a broker answers before it knows who
%% asks: what it speaks, and by which mechanisms it wants to be convinced. They tell
%% a listener that wants SASL from one that does not, without a password.
-module(crema_check_wire).

-export([requests/1, answered/1]).

-export_type([answer/0]).

%% `mechanisms' are those the listener has enabled; none: it wants no SASL.
-type answer() :: #{kafka := boolean(), mechanisms := unknown | [binary()]}.

-define(API_VERSIONS, 18).
-define(SASL_HANDSHAKE, 17).
-define(NO_ERROR, 0).
-define(UNSUPPORTED_MECHANISM, 33).
-define(UNSUPPORTED_VERSION, 35).

%% @doc Each without its size.
-spec requests(Mechanism :: binary()) -> [binary()].
requests(Mechanism) ->
    [
        request(?API_VERSIONS, 0, <<>>),
        request(?SASL_HANDSHAKE, 1, <<(byte_size(Mechanism)):16, Mechanism/binary>>)
    ].

-spec request(0..32767, 0..32767, binary()) -> binary().
request(Api, Version, Body) ->
    Client = <<"crema">>,
    <<Api:16, Version:16, Api:32, (byte_size(Client)):16, Client/binary, Body/binary>>.

%% @doc What the answers that came say; a broker that closes the connection in place
%% of the second has not said.
-spec answered([binary()]) -> answer().
answered([First | Rest]) ->
    #{kafka => is_versions(First), mechanisms => mechanisms(Rest)};
answered([]) ->
    #{kafka => false, mechanisms => unknown}.

-spec is_versions(binary()) -> boolean().
is_versions(<<?API_VERSIONS:32, Error:16, _/binary>>) ->
    Error =:= ?NO_ERROR orelse Error =:= ?UNSUPPORTED_VERSION;
is_versions(_) ->
    false.

-spec mechanisms([binary()]) -> unknown | [binary()].
mechanisms([<<?SASL_HANDSHAKE:32, Error:16, _Count:32, Names/binary>> | _]) when
    Error =:= ?NO_ERROR; Error =:= ?UNSUPPORTED_MECHANISM
->
    [binary:copy(Name) || <<Size:16, Name:Size/binary>> <= Names];
%% ILLEGAL_SASL_STATE: there is nothing to be convinced of.
mechanisms([<<?SASL_HANDSHAKE:32, 34:16, _/binary>> | _]) ->
    [];
mechanisms(_) ->
    unknown.
