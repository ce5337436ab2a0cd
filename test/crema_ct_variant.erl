%% What the suites of variants share.
-module(crema_ct_variant).

-export([loose/1, loose/2, variant/2, message/0]).

%% @doc A producer whose topics may have acks of their own.
loose(Config) -> loose(Config, #{}).

loose(Config, Options) ->
    crema_ct:producer(Config, maps:merge(#{ordering => loose, kafka => #{acks => all}}, Options)).

variant(Producer, Options) ->
    {ok, Variant} = crema:variant(Producer, Options),
    Variant.

message() -> #{topic => t, value => <<"x">>}.
