%% Nodes that find each other without a daemon: the port is in a node's name.
-module(crema_ct_epmd).

-export([start_link/0, register_node/3, listen_port_please/2, port_please/2, address_please/3]).
-export([names/1]).

start_link() -> ignore.

register_node(_Name, _Port, _Family) -> {ok, 1}.

listen_port_please(Name, _Host) -> {ok, port(Name)}.

port_please(Name, _Host) -> {port, port(Name), 6}.

address_please(Name, _Host, _Family) -> {ok, {127, 0, 0, 1}, port(Name), 6}.

names(_Host) -> {ok, []}.

port(Name) when is_atom(Name) -> port(atom_to_list(Name));
port(Name) -> list_to_integer(lists:last(string:lexemes(Name, "-"))).
