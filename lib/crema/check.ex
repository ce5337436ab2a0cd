defmodule Crema.Check do
  @moduledoc """
  What is wrong with a connection, step by step, and what to do about it.

      case Crema.check(bootstrap_servers: "localhost:9092", topics: ["orders"]) do
        {:ok, _steps} -> :ok
        {:error, {code, _}} = result -> IO.puts([to_string(code), "\\n", Crema.Check.format(result)])
      end

  It takes the options of a producer, consumer or reader, five seconds at most, changes nothing and
  leaves nothing behind. Beside those there may be

    * `:kind`: `:producer`, `:consumer` or `:reader`; else what the options are of
    * `:topics`: of a producer, the topics to ask for
    * `:deadline`: the milliseconds that it may take at most (5000)
    * `:write`: whether a producer sends a message to each topic (`false`)

  `mix crema.check` does it from a shell.
  """

  use Crema.Bang

  @typedoc """
  One step: `:step`, `:status`, `:subject`, `:message`, `:hint`, `:details` and, of one that failed,
  `:code`.
  """
  @type step :: :crema_check_step.step()

  @typedoc "All steps; the error's code is that of the first step that failed."
  @type result :: {:ok, [step]} | {:error, {code :: atom, %{steps: [step], message: binary}}}

  @doc "Checks the connection that a client with these options would have."
  @spec check(keyword | map) :: {:ok, [step]} | Crema.error()
  def check(opts), do: :crema_check.check(opts)

  @doc "The steps as text, in `:plain` style or with `:colours`."
  @spec format(result | [step], :plain | :colours) :: String.t()
  def format(result, style \\ :plain) do
    result |> :crema_check.format(style) |> IO.chardata_to_string()
  end
end
