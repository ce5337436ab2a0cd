%% @private Where single messages come in without a command of their producer's: ports for
%% all producers, one for each scheduler (c_src/core/intake.h). At a producer's own port
%% its callers meet, and who does is put to sleep; here none meets another.
-module(crema_intake).

-include("../port/crema_commands.hrl").

-export([open/0, settings/2, offer/2]).

-export_type([intake/0]).

%% The client, its key, and the size of a value, at most.
-type intake() :: {crema_port:client(), binary(), Max :: pos_integer()}.

%% @doc Opens the ports, for as long as the calling process lives. It hears of the end of
%% each, as of a process.
-spec open() -> ok | crema_error:error().
open() ->
    open(erlang:system_info(schedulers), []).

-spec open(non_neg_integer(), [port()]) -> ok | crema_error:error().
open(0, Ports) ->
    persistent_term:put(?MODULE, list_to_tuple(Ports));
open(Missing, Ports) ->
    case crema_port:open(intake) of
        {ok, Port} ->
            _ = crema_port:monitor(Port),
            open(Missing - 1, [Port | Ports]);
        {error, _} = Error ->
            Error
    end.

%% @doc A producer's settings, with what is to be known of this client. With an intake they
%% say that there is nothing to be told of a call, nor to be waited for before it.
-spec settings(crema_port:client() | none, crema_target:settings()) -> crema_target:settings().
settings(Client, #{max_payload_size := Max} = Settings) when
    Client =/= none, not is_map_key(transactions, Settings), not is_map_key(call_events, Settings)
->
    case crema_port:command(Client, ?CMD_INTAKE, <<>>) of
        {ok, Key} -> Settings#{intake => {Client, Key, Max}};
        _ -> maps:remove(intake, Settings)
    end;
settings(_Client, Settings) ->
    maps:remove(intake, Settings).

%% @doc Offers a message that nobody hears of. It is accepted; or refused, because its turn
%% is behind others or there is no place, and then a command is to be asked; or it is not
%% one to be produced without anything more. Of variants the settings may be another's.
-spec offer(crema_packet:message(), crema_target:client()) ->
    ok | {refused, Packed :: iodata()} | not_plain.
offer(#{value := Value} = Message, {Port, <<>>, #{prepare := false, intake := {Port, Key, Max}}}) ->
    case crema_packet:plain(Message, Max) of
        none -> not_plain;
        Packed when byte_size(Value) > ?INTAKE_LARGEST -> {refused, Packed};
        Packed -> offer_packed(Key, Packed)
    end;
offer(_Message, _Client) ->
    not_plain.

-spec offer_packed(binary(), iodata()) -> ok | {refused, iodata()}.
offer_packed(Key, Packed) ->
    Ports = persistent_term:get(?MODULE),
    case crema_port:offer(element(erlang:system_info(scheduler_id), Ports), [Key | Packed]) of
        true -> ok;
        false -> {refused, Packed}
    end.
