defmodule Crema.Config do
  @moduledoc """
  Options from elsewhere than the code.

  With `env: :heroku`, `env: {:heroku, "HEROKU_KAFKA_AMBER"}` or `env: {:prefix, "KAFKA"}` a
  producer, a consumer or a reader takes environment variables: those that Heroku sets, or those
  that begin with a prefix. They are read at each start. See the page "From the environment".

  Options may also stand in crema's application environment, for all clients or for one kind:

      # config/runtime.exs
      config :crema,
        client: [env: {:prefix, "KAFKA"}],
        producer: [kafka: ["linger.ms": 5]]

  An option that is given goes before a variable, that before the application environment of the
  kind, that before the one of all clients, and that before a default; properties under `:kafka`
  one by one.
  """

  use Crema.Bang

  @typedoc "Options with whose they are, or a child specification."
  @type config ::
          {:producer | :consumer | :reader, keyword | map}
          | %{:start => {module, :start_link, [term]}, optional(atom) => term}

  @doc """
  Where each value comes from that a client would start with, without secrets: an option, a
  variable, the application environment, or a default. `:text` in the result is for people.

      {:ok, %{text: text}} = Crema.explain_config({:producer, bootstrap_servers: "localhost:9092"})
      text =~ "bootstrap_servers = localhost:9092  (given)"
      #=> true

  What `child_spec/1` of a producer or consumer returns is taken as well.
  """
  @spec explain_config(config) :: {:ok, :crema_explain.explanation()} | Crema.error()
  def explain_config(config), do: :crema.explain_config(config)

  @doc """
  A name of a topic or group with the prefix that the environment has for them (`KAFKA_PREFIX`).
  Without one, and when it begins with it already, it is left as it is.

      Crema.Config.prefixed(:heroku, "orders")
      #=> "orders"
  """
  @spec prefixed(:heroku | {:heroku | :prefix, String.t()}, String.t()) :: String.t()
  def prefixed(env, name), do: :crema_env.prefixed(env, name)
end
