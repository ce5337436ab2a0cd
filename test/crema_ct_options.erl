%% What the parser says of wrong options, for the tests of all that has options.
-module(crema_ct_options).

-export([wrong/2, text/2]).

wrong(Scope, Options) ->
    {error, {bad_options, #{faults := Faults}}} = crema_options:parse(Scope, Options),
    [Option || #{option := Option} <- Faults].

text(Scope, Options) ->
    {error, {bad_options, #{message := Message}}} = crema_options:parse(Scope, Options),
    Message.
