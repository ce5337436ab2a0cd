%% A secret that is looked for in everything that can be read; of letters that may be in
%% a key.
-define(MARKER, "plantedS3cret0815").
